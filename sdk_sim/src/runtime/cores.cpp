#include "cores.hpp"

#include <cstring>
#include <utility>

#include "../exec/exec.hpp"
#include "../timing/access.hpp"

namespace rigi {
namespace {

// Host nanoseconds of work, roughly, that the launching thread does alone before it calls the helpers: waking one costs
// a few microseconds, which an empty or tiny launch must not pay.
constexpr int64_t kAlone = 3000, kUnlimited = INT64_MAX;

// Scalars of a core that are remembered: looking at so many again takes a few microseconds, far less than the launch.
constexpr size_t kMostScalars = 4096;

int64_t rough_nanoseconds(const rigi_instr& i) {
  const uint64_t area = uint64_t{i.rows} * i.cols;
  const uint64_t work = i.op == RIGI_MMA ? area * i.depth / 64 : area / 8;
  return static_cast<int64_t>(std::min<uint64_t>(work, 1U << 20)) + 50;
}

void check_scalar(uint32_t bytes, uint64_t address, uint64_t base, uint64_t size, const char* space) {
  if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 8)
    throw Fault("a scalar of " + std::to_string(bytes) + " bytes; allowed: 1, 2, 4, 8");
  if (address < base || address - base > size - bytes) {
    throw Fault(std::string("address ") + std::to_string(address) + " is outside the " + space + " (" + std::to_string(base) + " to " +
                    std::to_string(base + size) + ")",
                "out_of_bounds", "scalar");
  }
  if (address % bytes != 0)
    throw Fault("address " + std::to_string(address) + " is not a multiple of the " + std::to_string(bytes) + " bytes it reads",
                "misaligned", "scalar");
}

}  // namespace

Cores::Cores(const Chip& chip, Crew& crew, HbmRange hbm)
    : chip_(chip),
      crew_(crew),
      hbm_(hbm),
      sram_(size_t{chip.cores()} * chip.sram_bytes, size_t{2} << 20, true, "scratchpads"),
      states_(chip.cores()),
      contexts_(std::make_unique<Context[]>(chip.cores())) {
  static const rigi_core_ops ops = {&Cores::issue, &Cores::scalar_load, &Cores::scalar_read};
  for (uint32_t c = 0; c < chip.cores(); ++c) {
    states_[c].sram = sram_.data() + size_t{c} * chip.sram_bytes;
    states_[c].id = static_cast<int>(c);
    states_[c].peers = states_.data();
    states_[c].hbm_base = hbm.base;
    states_[c].hbm_bytes = hbm.bytes;
    Context& context = contexts_[c];
    context.core = {&ops, &context, static_cast<int32_t>(c)};
    context.owner = this;
    context.state = &states_[c];
  }
  crew_.add(&tasks_);
}

void Cores::run(const Program& program, Schedule* schedule, bool data, Checker* checker, uint64_t sequence) {
  const uint32_t cores = chip_.cores();
  for (uint32_t c = 0; c < cores; ++c) {
    Context& context = contexts_[c];
    context.schedule = schedule;
    context.checker = checker;
    context.index = 0;
    context.line = 0;
    context.op = nullptr;
    context.faulted = false;
    context.origins.clear();
    context.scalars.clear();
    context.loads.begin(checker == nullptr ? least_lazy_ : LazyLoads::kNever);
    states_[c].adds.clear();
  }
  program_ = &program;
  data_ = data;
  const bool poisoned = std::exchange(poisoned_, checker != nullptr);
  if (checker != nullptr) checker->begin(program.name(), program.arguments(), states_.data(), sequence, !poisoned);
  const uint32_t phases = program.phases();
  bool faulted = false;
  for (phase_ = 0; phase_ < phases && !faulted; ++phase_) {
    if (phase_ > 0) {
      if (schedule != nullptr) schedule->barrier();
      for (uint32_t c = 0; c < cores; ++c) ++contexts_[c].index;
    }
    run_cores();
    for (uint32_t c = 0; c < cores; ++c) faulted |= contexts_[c].faulted;
    if (checker != nullptr) checker->end_phase();
    if (faulted) break;
    apply_adds(states_.data(), static_cast<int>(cores));
  }
  if (checker != nullptr) checker->end(!faulted);
  if (faulted) throw_first_fault(phase_);
}

void Cores::throw_first_fault(uint32_t phase) const {
  for (uint32_t c = 0; c < chip_.cores(); ++c) {
    const Context& context = contexts_[c];
    if (!context.faulted) continue;
    std::string text = std::string("kernel ") + program_->name() + ", core " + std::to_string(c) + ", phase " + std::to_string(phase);
    if (context.op != nullptr) text += ", instruction " + std::to_string(context.index - 1) + " (" + context.op + ")";
    text += ": " + context.fault;
    if (context.line != 0) text += " [source line " + std::to_string(context.line) + "]";
    throw Fault(text);
  }
}

// One after the other in this thread, until charge() lets helpers have those that come next.
void Cores::run_cores() {
  const uint32_t cores = chip_.cores();
  shared_ = false;
  budget_ = crew_.threads() > 1 ? kAlone : kUnlimited;
  for (uint32_t c = 0; c < cores && !shared_; ++c) run_core(c, budget_);
  if (!shared_) return;
  while (tasks_.run_one()) {
  }
  tasks_.wait_finished();
}

void Cores::run_shared(void* cores, uint32_t core) {
  int64_t unlimited = kUnlimited;
  static_cast<Cores*>(cores)->run_core(core, unlimited);
}

void Cores::run_core(uint32_t core, int64_t& budget) {
  Context& context = contexts_[core];
  context.budget = &budget;
  const auto stop = [&](const Fault& fault) {
    context.faulted = true;
    context.fault = fault.what();
    if (context.checker != nullptr) context.checker->stopped(site(context), fault);
  };
  try {
    program_->run(phase_, &context.core);
    context.loads.end_phase(phase_ + 1 == program_->phases(), *context.state);
  } catch (const Fault& fault) {
    stop(fault);
  } catch (const std::exception& error) {
    stop(Fault(error.what()));
  } catch (...) {
    stop(Fault("the kernel threw an exception that is no std::exception"));
  }
}

// The instruction that the core has just issued.
Site Cores::site(const Context& context) const {
  return {static_cast<uint32_t>(context.core.id), phase_, context.index == 0 ? 0 : context.index - 1, context.line,
          context.op == nullptr ? "" : context.op};
}

// The launching thread counts what it does and calls for help once that is worth it.
inline void Cores::charge(const Context& context, const rigi_instr& instr) {
  int64_t& budget = *context.budget;
  if (budget == kUnlimited) return;
  budget -= rough_nanoseconds(instr);
  if (budget > 0) return;
  budget = kUnlimited;
  const auto next = static_cast<uint32_t>(context.core.id) + 1;
  if (next == chip_.cores()) return;
  shared_ = true;
  tasks_.publish(&Cores::run_shared, this, next, chip_.cores());
  crew_.call();
}

void Cores::issue(void* state, const rigi_instr* instr) {
  Context& context = *static_cast<Context*>(state);
  Cores& self = *context.owner;
  ++context.index;
  context.op = op_name(instr->op);
  context.line = instr->line;
  validate(*instr, context.core.id, self.chip_, self.hbm_);
  self.charge(context, *instr);
  if (context.checker != nullptr) context.checker->instruction(self.site(context), *instr);
  if (context.schedule != nullptr) context.schedule->add(context.core.id, *instr);
  if (self.data_) context.loads.execute(*instr, *context.state);
}

uint64_t Cores::noted(Context& context, uint64_t hbm, uint32_t bytes) {
  const uint64_t value = read_scalar(hbm, bytes);
  if (context.scalars.size() <= kMostScalars) context.scalars.push_back({hbm, bytes, value});
  return value;
}

std::optional<std::vector<ScalarFromHbm>> Cores::scalars() const {
  std::vector<ScalarFromHbm> all;
  for (uint32_t c = 0; c < chip_.cores(); ++c) {
    const std::vector<ScalarFromHbm>& scalars = contexts_[c].scalars;
    if (scalars.size() > kMostScalars) return std::nullopt;
    all.insert(all.end(), scalars.begin(), scalars.end());
  }
  return all;
}

uint64_t Cores::scalar_load(void* state, uint64_t hbm, uint32_t bytes) {
  Context& context = *static_cast<Context*>(state);
  Cores& self = *context.owner;
  ++context.index;
  context.op = "scalar_load";
  context.line = 0;
  check_scalar(bytes, hbm, self.hbm_.base, self.hbm_.bytes, "HBM");
  if (context.checker != nullptr) context.checker->scalar_load(self.site(context), hbm, bytes);
  if (context.schedule != nullptr) context.schedule->scalar_load(context.core.id, hbm, bytes);
  return self.data_ ? read_scalar(hbm, bytes) : noted(context, hbm, bytes);
}

uint64_t Cores::scalar_read(void* state, uint32_t sram, uint32_t bytes) {
  Context& context = *static_cast<Context*>(state);
  Cores& self = *context.owner;
  ++context.index;
  context.op = "scalar_read";
  context.line = 0;
  check_scalar(bytes, sram, 0, self.chip_.sram_bytes, "scratchpad");
  if (context.checker != nullptr) context.checker->scalar_read(self.site(context), sram, bytes);
  if (context.schedule != nullptr) context.schedule->scalar_read(context.core.id, sram, bytes);
  if (!self.data_) {
    const uint64_t from = context.origins.find(context.schedule->issued(context.core.id), sram, bytes);
    return from == 0 ? 0 : noted(context, from, bytes);
  }
  context.loads.read(sram, bytes, *context.state);
  uint64_t value = 0;
  std::memcpy(&value, context.state->sram + sram, bytes);
  return value;
}

}  // namespace rigi
