#include "command.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "graph.hpp"

namespace rigi {

void submit(const std::shared_ptr<Stream>& stream, std::unique_ptr<Command> command) {
  Device& device = *stream->device;
  if (stream->capturing.load(std::memory_order_acquire)) {
    device.queue.check();
    if (Capture::add(stream, command)) return;  // unless the capture ended meanwhile
  }
  const rigiMode mode = device.mode;
  device.submit(*stream,
                [&device, stream, mode, command = std::move(command)] { command->run({device, *stream, mode, device.chip.launch_host}); });
}

KernelProgram::KernelProgram(std::shared_ptr<Kernel> kernel, const Device& device, const rigiArg* args, size_t num_args)
    : kernel_(std::move(kernel)), args_(num_args) {
  const rigi_kernel_desc& description = *kernel_->description;
  if (num_args != description.num_args) {
    throw Error(RIGI_ERROR_INVALID_VALUE, std::string("kernel ") + description.name + " takes " + std::to_string(description.num_args) +
                                              " arguments, " + std::to_string(num_args) + " were given");
  }
  if (num_args != 0 && args == nullptr) throw Error(RIGI_ERROR_INVALID_VALUE, "`args` is null");
  if (kernel_->module->device() != device.id) {
    throw Error(RIGI_ERROR_INVALID_VALUE, std::string("kernel ") + description.name + " was loaded for device " +
                                              std::to_string(kernel_->module->device()) + ", the stream is on device " +
                                              std::to_string(device.id) + "; load the module for that device too");
  }
  static_assert(sizeof(rigiArg) == sizeof(rigi_word));
  if (num_args != 0) std::memcpy(args_.data(), args, num_args * sizeof(rigi_word));
}

void LaunchCommand::describe(rigiGraphNode& node) const {
  node.kind = RIGI_NODE_KERNEL;
  node.num_args = program_->arguments() != nullptr ? program_->arguments()->size() : 0;
  std::snprintf(node.name, sizeof(node.name), "%s", program_->name());
}

void WaitCommand::run(const Run& run) {
  // A record of this device was submitted earlier and is done. Another device may still be at it.
  if (record_->device != &run.device) record_->device->queue.wait_in_work(record_->sequence);
  run.stream.clock = std::max(run.stream.clock, record_->cycles);
}

}  // namespace rigi
