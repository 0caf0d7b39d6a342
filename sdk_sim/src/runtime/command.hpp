// What a stream does. Calls of rigi.h make commands; a command runs in its device's queue, at once or as a node of a graph.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cores.hpp"
#include "library.hpp"

namespace rigi {

/// Where, on which clock and at which price a command runs.
struct Run {
  Device& device;
  Stream& stream;
  rigiMode mode;
  uint32_t launch_cost;  // cycles before the sequencers of a kernel start
};

class Command {
 public:
  virtual ~Command() = default;
  /// Called in the device's queue, any number of times.
  virtual void run(const Run& run) = 0;
  /// Fills in all but the stream.
  virtual void describe(rigiGraphNode& node) const = 0;
};

/// Notes the command in the stream's capture, or hands it to the device's queue.
void submit(const std::shared_ptr<Stream>& stream, std::unique_ptr<Command> command);

/// A kernel of a module with its arguments, or instructions as data.
class LaunchCommand final : public Command {
 public:
  explicit LaunchCommand(std::unique_ptr<const Program> program) : program_(std::move(program)) {}
  void run(const Run& run) override { run.device.launch(*program_, run); }
  void describe(rigiGraphNode& node) const override;
  const Program& program() const { return *program_; }

 private:
  std::unique_ptr<const Program> program_;
};

class KernelProgram final : public Program {
 public:
  /// Throws Error unless the arguments and the device fit the kernel.
  KernelProgram(std::shared_ptr<Kernel> kernel, const Device& device, const rigiArg* args, size_t num_args);
  const char* name() const override { return kernel_->description->name; }
  uint32_t phases() const override { return kernel_->description->num_phases; }
  const std::vector<rigi_word>* arguments() const override { return &args_; }
  void run(uint32_t phase, rigi_core* core) const override { kernel_->description->phases[phase](core, args_.data()); }
  const std::shared_ptr<Kernel>& kernel() const { return kernel_; }

 private:
  std::shared_ptr<Kernel> kernel_;
  std::vector<rigi_word> args_;
};

/// A copy of `bytes` > 0. Refuses, by Error, blocks that do not lie in live memory or not on the stream's device.
/// `at_once`: it is not for a graph; small host data is taken now, and memory freed on other devices meanwhile is held back.
std::unique_ptr<Command> make_copy(Library& library, const Device& device, void* dst, const void* src, size_t bytes, bool at_once);

class HostCommand final : public Command {
 public:
  HostCommand(void (*function)(void*), void* data) : function_(function), data_(data) {}
  void run(const Run& /*run*/) override { function_(data_); }
  void describe(rigiGraphNode& node) const override { node.kind = RIGI_NODE_HOST; }

 private:
  void (*function_)(void*);
  void* data_;
};

class RecordCommand final : public Command {
 public:
  explicit RecordCommand(std::shared_ptr<Record> record) : record_(std::move(record)) {}
  void run(const Run& run) override { record_->cycles = run.stream.clock; }
  void describe(rigiGraphNode& node) const override { node.kind = RIGI_NODE_RECORD; }

 private:
  std::shared_ptr<Record> record_;
};

class WaitCommand final : public Command {
 public:
  explicit WaitCommand(std::shared_ptr<Record> record) : record_(std::move(record)) {}
  void run(const Run& run) override;
  void describe(rigiGraphNode& node) const override { node.kind = RIGI_NODE_WAIT; }

 private:
  std::shared_ptr<Record> record_;
};

}  // namespace rigi
