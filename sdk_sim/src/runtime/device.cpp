#include "device.hpp"

#include <cinttypes>

#include "command.hpp"
#include "log.hpp"
#include "status.hpp"

namespace rigi {

void* Device::allocate(uint64_t bytes) {
  try {
    return memory.allocate(bytes, queue.completed());
  } catch (const Error& error) {
    if (!memory.watching() || error.status() != RIGI_ERROR_OUT_OF_MEMORY || Queue::in_work()) throw;
  }
  queue.synchronize();  // then all that waits in quarantine may be handed out again
  return memory.allocate(bytes, queue.completed());
}

void Device::set_mode(rigiMode next) {
  if (next != RIGI_STRICT && memory.watching()) queue.synchronize();
  memory.watch(next == RIGI_STRICT);
  mode = next;
}

void Device::free(void* pointer) {
  memory.release(pointer, queue.submitted(), queue.completed());
  if (!memory.purge_due()) return;
  // In the queue, because work submitted before may still read what has just been freed.
  const uint64_t before = queue.submitted();
  queue.submit([this, before] { memory.purge(before); });
}

// Carries the program out, on a clock. In timing-only mode what is known already needs no second run.
uint64_t Device::cycles_of(const Program& program, const Run& run) {
  const bool data = run.mode != RIGI_TIMING_ONLY;
  if (run.mode == RIGI_STRICT && !checker_) checker_ = std::make_unique<Checker>(chip, memory, findings);
  Checker* checker = run.mode == RIGI_STRICT ? checker_.get() : nullptr;
  const bool told = !trace_ && (!profiler_ || profiler_->knows(program.known.schedule));
  if (told && program.known.holds(run.launch_cost, data)) {
    if (data) cores_->run(program, nullptr, true, checker, queue.completed() + 1);
    return program.known.cycles;
  }
  if (!schedule_) schedule_ = std::make_unique<Schedule>(chip);
  schedule_->begin(run.launch_cost);
  cores_->run(program, schedule_.get(), data, checker, queue.completed() + 1);
  uint64_t cycles = 0;
  try {
    cycles = schedule_->finish();
  } catch (const Fault& fault) {
    if (checker != nullptr) checker->refuse(fault);
    throw Fault(std::string("kernel ") + program.name() + ", " + fault.what());
  }
  const bool always = !schedule_->reads_scalars();
  program.known = {always, run.launch_cost, cycles, schedule_->program(), always || data ? std::nullopt : cores_->scalars()};
  if (trace_) schedule_->write_trace(*trace_, traced_++, program.name(), memory.range().base);
  if (profiler_) profiler_->describe(*schedule_);
  return cycles;
}

void Device::launch(const Program& program, const Run& run) {
  if (!cores_) cores_ = std::make_unique<Cores>(chip, crew_, memory.range());
  uint64_t cycles = 0;
  if (run.mode == RIGI_FUNCTIONAL) {
    cores_->run(program, nullptr, true);
    if (profiler_) profiler_->untimed();
  } else {
    cycles = cycles_of(program, run);
    timeline_.launch(run.stream, cycles);
    if (profiler_) profiler_->launch(program.name(), program.known.schedule, run.stream, cycles);
  }
  if (logs(Log::Work)) log(Log::Work, "device %d: %s, %" PRIu64 " cycles", id, program.name(), cycles);
  auto count = kernels_.find(program.name());
  if (count == kernels_.end()) count = kernels_.emplace(program.name(), Count()).first;
  ++count->second.number;
  count->second.cycles += cycles;
}

void Device::account(const Run& run, Transfer kind, uint64_t bytes) {
  Count& count = transfers_[static_cast<int>(kind)];
  ++count.number;
  count.bytes += bytes;
  const uint64_t cycles = run.mode != RIGI_FUNCTIONAL ? timeline_.transfer(run.stream, kind, bytes, run.launch_cost) : 0;
  count.cycles += cycles;
  if (logs(Log::Work))
    log(Log::Work, "device %d: copy %s of %" PRIu64 " bytes, %" PRIu64 " cycles", id, kTransferNames[static_cast<int>(kind)], bytes,
        cycles);
  if (profiler_ && run.mode != RIGI_FUNCTIONAL) profiler_->copy(kind, bytes, run.stream, cycles);
}

std::string Device::take_statistics() {
  uint64_t launches = 0, cycles = 0;
  std::string kernels, transfers;
  for (const auto& [name, count] : kernels_) {
    launches += count.number;
    cycles += count.cycles;
    kernels += (kernels.empty() ? "\"" : ",\"") + name + "\":{\"launches\":" + std::to_string(count.number) +
               ",\"cycles\":" + std::to_string(count.cycles) + "}";
  }
  for (int t = 0; t < kTransfers; ++t) {
    transfers += std::string(t == 0 ? "\"" : ",\"") + kTransferNames[t] + "\":{\"count\":" + std::to_string(transfers_[t].number) +
                 ",\"bytes\":" + std::to_string(transfers_[t].bytes) + ",\"cycles\":" + std::to_string(transfers_[t].cycles) + "}";
    transfers_[t] = {};
  }
  kernels_.clear();
  return "{\"launches\":" + std::to_string(launches) + ",\"cycles\":" + std::to_string(cycles) + ",\"kernels\":{" + kernels +
         "},\"copies\":{" + transfers + "}}";
}

void Device::trace_to(std::unique_ptr<OutputFile> file) {
  stop_trace();
  trace_ = std::move(file);
  traced_ = 0;
}

bool Device::stop_trace() {
  const std::unique_ptr<OutputFile> file = std::move(trace_);
  return !file || file->close();
}

void Device::profile_with(std::unique_ptr<Profiler> profiler) {
  stop_profile();
  profiler_ = std::move(profiler);
}

bool Device::stop_profile() {
  const std::unique_ptr<Profiler> profiler = std::move(profiler_);
  return !profiler || profiler->close();
}

}  // namespace rigi
