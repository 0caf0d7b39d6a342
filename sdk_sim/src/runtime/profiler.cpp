#include "profiler.hpp"

#include <unistd.h>

#include "../json.hpp"

namespace rigi {
namespace {

void append_device(std::string& out, const Chip& chip, int device, const std::string& override_path) {
  const double columns = 2.0 * chip.matrix_n * chip.cores();
  out += '{';
  json::field(out, "kind", "device");
  json::field(out, "device", device);
  json::field(out, "process", static_cast<int>(::getpid()));
  json::field(out, "chip", chip.name);
  json::field(out, "revision", chip.revision);
  json::field(out, "sdk_version", rigiGetVersion());
  json::field(out, "override", override_path);
  json::field(out, "cores", chip.cores());
  json::field(out, "clock_hz", chip.clock_hz);
  json::field(out, "flops_per_cycle_16bit", columns * chip.matrix_k16);
  json::field(out, "flops_per_cycle_8bit", columns * chip.matrix_k8);
  json::field(out, "hbm_bytes_per_cycle", chip.hbm_bytes_per_cycle);
  out += "}\n";
}

}  // namespace

void Profiler::write(std::string line, int launches) {
  line += "}\n";
  if (!begun_) {
    std::string first;
    append_device(first, chip_, device_, override_path_);
    file_->write(std::move(first), 0);
    begun_ = true;
  }
  file_->write(std::move(line), launches);
}

// What launches and copies have in common.
void Profiler::append_place(std::string& out, const Stream& stream, uint64_t cycles) {
  json::field(out, "sequence", sequence_++);
  json::field(out, "stream", stream.number);
  const auto open = ranges_of_.find(stream.number);
  json::key(out, "ranges");
  out += '[' + (open == ranges_of_.end() ? std::string() : open->second.back()) + ']';
  json::field(out, "start", stream.clock - cycles);
  json::field(out, "end", stream.clock);
}

void Profiler::describe(Schedule& schedule) {
  const auto [program, fresh] = programs_.try_emplace(schedule.program(), programs_.size());
  if (!fresh) return;
  std::string line = "{";
  json::field(line, "kind", "program");
  json::field(line, "program", program->second);
  append_summary(line, summarize(schedule, chip_), chip_);
  write(std::move(line), 0);
}

void Profiler::launch(const char* kernel, uint64_t program, const Stream& stream, uint64_t cycles) {
  std::string line = "{";
  json::field(line, "kind", "launch");
  json::field(line, "kernel", kernel);
  json::field(line, "program", programs_.at(program));
  append_place(line, stream, cycles);
  write(std::move(line), 1);
}

void Profiler::untimed() {
  if (untimed_) return;
  untimed_ = true;
  std::string line = "{";
  json::field(line, "kind", "untimed");
  write(std::move(line), 0);
}

void Profiler::copy(Transfer kind, uint64_t bytes, const Stream& stream, uint64_t cycles) {
  std::string line = "{";
  json::field(line, "kind", "copy");
  json::field(line, "copy", kTransferNames[static_cast<int>(kind)]);
  json::field(line, "bytes", bytes);
  append_place(line, stream, cycles);
  write(std::move(line), 0);
}

void Profiler::push(const Stream& stream, const std::string& kind, const std::string& name) {
  std::vector<std::string>& open = ranges_of_[stream.number];
  std::string path = open.empty() ? "" : open.back();
  json::separate(path);
  path += '[';
  json::append(path, kind);
  json::append(path, name);
  json::append(path, ranges_++);
  path += ']';
  open.push_back(std::move(path));
}

void Profiler::pop(const Stream& stream) {
  const auto open = ranges_of_.find(stream.number);
  if (open == ranges_of_.end()) return;
  open->second.pop_back();
  if (open->second.empty()) ranges_of_.erase(open);
}

}  // namespace rigi
