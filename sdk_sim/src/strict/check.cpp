#include "check.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <tuple>
#include <unordered_set>

namespace rigi {
namespace {

constexpr const char* kUninitialized = "uninitialized";

std::string hex(uint64_t v) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(v));
  return text;
}

// The operands that access_of() lists as read, in its order.
struct ReadNames {
  const char* names[Access::kMax] = {"a", "b", "c", ""};

  explicit ReadNames(const rigi_instr& i) {
    if (i.op == RIGI_SCATTER) {
      names[0] = "b";
      names[1] = "a";
    } else if (i.op == RIGI_MMA) {
      names[2] = "dst";
    } else {
      int n = 0;
      if (i.a.bcast != RIGI_IMM) names[n++] = "a";
      if (i.b.bcast != RIGI_IMM) names[n++] = "b";
      names[n] = "c";
    }
  }
};

bool is_index_list(const rigi_instr& i, const char* operand) {
  return (i.op == RIGI_GATHER && *operand == 'a') || ((i.op == RIGI_SCATTER || i.op == RIGI_TAKE) && *operand == 'b');
}

template <typename Visit>
void each_row(const Span& span, Visit&& visit) {
  if (span.stride == span.row_bytes || span.rows == 1) return visit(span.addr, span.addr + span.rows * span.row_bytes);
  for (uint32_t r = 0; r < span.rows; ++r) visit(span.addr + r * span.stride, span.addr + r * span.stride + span.row_bytes);
}

// A number that the sequencer reads may be a pointer.
void note_pointer(std::vector<uint64_t>& pointers, const void* from) {
  uint64_t value;
  std::memcpy(&value, from, sizeof(value));
  if (value != 0 && (pointers.empty() || pointers.back() != value)) pointers.push_back(value);
}

HbmUse block_use(const Site& site, HbmUse::Kind kind, const rigi_instr& i) {
  const uint64_t stride = i.rows == 1 ? i.cols : static_cast<uint64_t>(i.hbm_stride < 0 ? -i.hbm_stride : i.hbm_stride);
  const uint64_t first = i.rows > 1 && i.hbm_stride < 0 ? i.hbm - (i.rows - 1) * stride : i.hbm;
  return {first, stride, i.rows, i.cols, kind, site};
}

}  // namespace

Checker::Checker(const Chip& chip, Memory& memory, Findings& findings)
    : chip_(chip), memory_(memory), findings_(findings), cores_(chip.cores()) {
  for (Core& core : cores_) core.written = std::make_unique<Bits>(chip.sram_bytes, "shadow of a scratchpad");
}

void Checker::begin(const char* kernel, const std::vector<rigi_word>* arguments, CoreState* cores, uint64_t sequence, bool all) {
  constexpr int kNan = 0xff;  // in every float type, and no index
  kernel_ = kernel;
  const auto points = [&](const rigi_word& word) {
    return memory_.contains(reinterpret_cast<const void*>(word.ptr)) && memory_.live(word.ptr, sequence).has_value();
  };
  arguments_ = arguments != nullptr && std::any_of(arguments->begin(), arguments->end(), points) ? arguments : nullptr;
  states_ = cores;
  sequence_ = sequence;
  for (uint32_t c = 0; c < cores_.size(); ++c) {
    Core& core = cores_[c];
    std::memset(cores[c].sram, kNan, all ? chip_.sram_bytes : core.top);
    core.written->clear(0, core.top);
    core.top = 0;
    core.log.clear();
    core.findings.clear();
    core.found = 0;
    core.block = {0, 0, 0, false};
    core.pointers.clear();
    for (auto& list : core.multicasts) list.clear();
  }
}

void Checker::add(Core& core, Finding finding) {
  ++core.found;
  if (core.findings.size() < kMost) core.findings.push_back(std::move(finding));
}

void Checker::instruction(const Site& site, const rigi_instr& i) {
  Core& core = cores_[site.core];
  const Access access = access_of(i);
  const ReadNames names(i);
  for (int n = 0; n < access.num_reads; ++n) {
    if (i.op == RIGI_TAKE && *names.names[n] == 'a') continue;
    read_sram(site, core, access.reads[n], names.names[n], is_index_list(i, names.names[n]));
  }
  if (i.op == RIGI_TAKE) take(site, core, i);
  switch (i.op) {
    case RIGI_LOAD_MULTICAST:
      core.multicasts[i.fn].push_back({site, access.writes[0], i.hbm, i.hbm_stride});
      [[fallthrough]];
    case RIGI_LOAD:
    case RIGI_GATHER:
      use_hbm(site, core, HbmUse::Load, i);
      break;
    case RIGI_STORE:
    case RIGI_SCATTER:
      use_hbm(site, core, HbmUse::Store, i);
      break;
    case RIGI_STORE_ADD:
      use_hbm(site, core, HbmUse::Add, i);
      break;
    case RIGI_SEND: {
      const uint32_t stride = i.rows == 1 ? i.cols : static_cast<uint32_t>(i.dst.stride);
      core.log.sends.push_back({i.target, {i.dst.addr, i.cols, i.rows, stride}, site});
      break;
    }
    default:
      break;
  }
  for (int n = 0; n < access.num_reads; ++n) core.log.sram.try_emplace(access.reads[n], CoreLog::OwnUse{site, false});
  for (int n = 0; n < access.num_writes; ++n) {
    core.log.sram.try_emplace(access.writes[n], CoreLog::OwnUse{site, true});
    write_sram(core, access.writes[n]);
  }
}

void Checker::scalar_load(const Site& site, uint64_t hbm, uint32_t bytes) {
  Core& core = cores_[site.core];
  use_hbm(core, {hbm, bytes, 1, bytes, HbmUse::Load, site}, "scalar");
  if (bytes == sizeof(uint64_t)) note_pointer(core.pointers, reinterpret_cast<const void*>(hbm));
}

void Checker::scalar_read(const Site& site, uint32_t sram, uint32_t bytes) {
  Core& core = cores_[site.core];
  const Span span{sram, bytes, 1, bytes};
  read_sram(site, core, span, "scalar", false);
  if (bytes == sizeof(uint64_t)) note_pointer(core.pointers, states_[site.core].sram + sram);
  core.log.sram.try_emplace(span, CoreLog::OwnUse{site, false});
}

void Checker::read_sram(const Site& site, Core& core, const Span& span, const char* operand, bool stop) {
  uint64_t missing = 0, first = 0;
  each_row(span, [&](uint64_t lo, uint64_t hi) {
    for (uint64_t from = core.written->first_clear(lo, hi); from < hi;) {
      const uint64_t to = core.written->first_set(from, hi);
      if (missing == 0) first = from;
      missing += to - from;
      from = core.written->first_clear(to, hi);
    }
  });
  if (missing == 0) return;
  std::string text = "reads SRAM bytes " + hex(span.addr) + " to " + hex(span.end());
  if (span.rows > 1)
    text +=
        " (" + std::to_string(span.rows) + " rows of " + std::to_string(span.row_bytes) + ", " + std::to_string(span.stride) + " apart)";
  text += ", of which " + std::to_string(missing) + " were not written in this launch, the first at " + hex(first) +
          ". A launch starts with nothing in SRAM: write them first (load, fill), or read less";
  if (stop) throw Fault(text, kUninitialized, operand);
  add(core, {kUninitialized, site, operand, text});
  write_sram(core, span);  // said once
}

// Only the elements of `a` that the indices name are read.
void Checker::take(const Site& site, Core& core, const rigi_instr& i) {
  const uint32_t size = dtype_bytes(i.a.dtype);
  const uint8_t* sram = states_[site.core].sram;
  for (uint32_t r = 0; r < i.rows; ++r) {
    const uint32_t from = i.a.addr + (i.a.bcast == RIGI_ROW ? 0 : r * static_cast<uint32_t>(i.a.stride));
    for (uint32_t c = 0; c < i.cols; ++c) {
      auto at = static_cast<int32_t>(i.b.imm);
      if (i.b.bcast != RIGI_IMM) {
        const uint32_t row = i.b.bcast == RIGI_ROW ? 0 : r * static_cast<uint32_t>(i.b.stride);
        std::memcpy(&at, sram + i.b.addr + row + (i.b.bcast == RIGI_COL ? 0 : 4 * c), 4);
      }
      if (at < 0 || static_cast<uint32_t>(at) >= i.depth) continue;  // execute() refuses it
      const uint32_t lo = from + (i.a.bcast == RIGI_COL ? 0 : static_cast<uint32_t>(at) * size);
      if (core.written->first_clear(lo, lo + size) == lo + size) continue;
      return read_sram(site, core, {lo, size, 1, size}, "a", false);
    }
  }
}

void Checker::write_sram(Core& core, const Span& span) {
  each_row(span, [&](uint64_t lo, uint64_t hi) { core.written->set(lo, hi); });
  core.top = std::max(core.top, span.end());
}

bool Checker::inside(Core& core, uint64_t address, uint64_t bytes) {
  if (address - core.block.address >= core.block.bytes) {
    const std::optional<Memory::Block> block = memory_.live(address, sequence_);
    if (!block) return false;
    core.block = *block;
    core.given = given(core, *block);
  }
  return bytes <= core.block.bytes - (address - core.block.address);
}

bool Checker::given(const Core& core, const Memory::Block& block) const {
  if (arguments_ == nullptr) return true;
  const auto within = [&](uint64_t pointer) { return pointer - block.address < block.bytes; };
  return std::any_of(arguments_->begin(), arguments_->end(), [&](const rigi_word& word) { return within(word.ptr); }) ||
         std::any_of(core.pointers.begin(), core.pointers.end(), within);
}

void Checker::require_given(const Core& core, uint64_t address, uint64_t bytes, const char* operand) const {
  if (core.given) return;
  throw Fault("the " + std::to_string(bytes) + " bytes at HBM address " + hex(address) + " lie in " + memory_.place(address) +
                  ", into which no argument of the kernel points: the address left the memory that it was made from",
              "out_of_bounds", operand);
}

// The rows of a gather or scatter belong to the allocation that they are counted from, as elements to an array.
void Checker::use_hbm(const Site& site, Core& core, HbmUse::Kind kind, const rigi_instr& i) {
  if (i.op != RIGI_GATHER && i.op != RIGI_SCATTER) return use_hbm(core, block_use(site, kind, i), "hbm");
  if (!inside(core, i.hbm, 1)) {
    const auto [what, where] = memory_.misplaced(i.hbm, 1, sequence_);
    throw Fault("row 0 of what is indexed, at HBM address " + hex(i.hbm) + ", would " + where, what, "hbm");
  }
  require_given(core, i.hbm, 1, "hbm");
  const Memory::Block array = core.block;
  const uint8_t* index = states_[site.core].sram + (i.op == RIGI_GATHER ? i.a.addr : i.b.addr);
  for (uint32_t r = 0; r < i.rows; ++r) {
    int32_t at;
    std::memcpy(&at, index + size_t{4} * r, 4);
    if (at < 0) return;  // execute() refuses it
    const uint64_t address = i.hbm + static_cast<uint64_t>(int64_t{at} * i.hbm_stride);
    if (!inside(core, address, i.cols) || core.block.address != array.address) {
      const auto row = "row " + std::to_string(r) + ", by index " + std::to_string(at) + ": the " + std::to_string(i.cols) +
                       " bytes at HBM address " + hex(address) + " ";
      if (inside(core, address, i.cols)) {
        throw Fault(row + "lie in " + memory_.place(address) + ", but rows are counted from " + memory_.place(i.hbm), "out_of_bounds",
                    "hbm");
      }
      const auto [what, where] = memory_.misplaced(address, i.cols, sequence_);
      throw Fault(row + where, what, "hbm");
    }
    use_hbm(core, {address, i.cols, 1, i.cols, kind, site}, "hbm");
  }
}

void Checker::use_hbm(Core& core, const HbmUse& use, const char* operand) {
  // Mostly one allocation holds the whole block; otherwise each of its pieces must lie in one.
  if (inside(core, use.addr, use.end() - use.addr)) {
    require_given(core, use.addr, use.end() - use.addr, operand);
  } else {
    use.each_piece([&](uint64_t lo, uint64_t hi) {
      if (inside(core, lo, hi - lo)) return require_given(core, lo, hi - lo, operand);
      const auto [what, where] = memory_.misplaced(lo, hi - lo, sequence_);
      throw Fault((use.solid() ? "the " : "one of " + std::to_string(use.rows) + " rows: the ") + std::to_string(hi - lo) +
                      " bytes at HBM address " + hex(lo) + " " + where,
                  what, operand);
    });
  }
  if (use.kind == HbmUse::Load) check_written(core, use, operand);
  (use.kind == HbmUse::Load ? core.log.loads : core.log.writes).push_back(use);
}

void Checker::check_written(Core& core, const HbmUse& use, const char* operand) {
  bool found = false;
  use.each_piece([&](uint64_t lo, uint64_t hi) {
    if (found || (inside(core, lo, hi - lo) && !core.block.watched)) return;
    const uint64_t first = memory_.first_unwritten(lo, hi - lo);
    if (first == hi) return;
    found = true;
    add(core, {kUninitialized, use.site, operand,
               "reads HBM that nobody has written since it was allocated: " + memory_.place(first) + " (address " + hex(first) +
                   "), in a piece of " + std::to_string(hi - lo) + " bytes. Store, copy or memset it first, or read less"});
  });
}

void Checker::stopped(const Site& site, const Fault& fault) { add(cores_[site.core], {fault.kind(), site, fault.operand(), fault.what()}); }

void Checker::end_phase() {
  report_races();
  for (const Core& core : cores_) {
    for (const HbmUse& use : core.log.writes) {
      if (use.kind == HbmUse::Store)
        use.each_piece([&](uint64_t lo, uint64_t hi) { memory_.wrote(reinterpret_cast<const void*>(lo), hi - lo); });
    }
  }
  // Sums are added at the end of the phase, to what its stores have left.
  for (Core& core : cores_) {
    for (const HbmUse& use : core.log.writes) {
      if (use.kind == HbmUse::Add) check_written(core, use, "hbm");
    }
  }
  for (const Core& core : cores_) {
    for (const HbmUse& use : core.log.writes) {
      if (use.kind == HbmUse::Add)
        use.each_piece([&](uint64_t lo, uint64_t hi) { memory_.wrote(reinterpret_cast<const void*>(lo), hi - lo); });
    }
    for (const CoreLog::Send& send : core.log.sends) write_sram(cores_[send.target], send.span);
  }
  for (Core& core : cores_) {
    core.log.clear();
    core.block = {};  // an allocation that this phase wrote as a whole is no longer watched
  }
}

void Checker::report_races() {
  std::vector<CoreLog> logs(cores_.size());
  for (size_t c = 0; c < cores_.size(); ++c) std::swap(logs[c], cores_[c].log);
  const std::vector<Race> races = find_races(logs);
  for (size_t c = 0; c < cores_.size(); ++c) std::swap(logs[c], cores_[c].log);
  std::vector<std::unordered_set<uint32_t>> racing(cores_.size());
  for (const Race& race : races) {
    racing[race.site.core].insert(race.site.index);
  }
  // What another core was about to write is a race, not a byte that nobody writes.
  for (size_t c = 0; c < cores_.size(); ++c) {
    const size_t removed = std::erase_if(
        cores_[c].findings, [&](const Finding& f) { return std::strcmp(f.kind, kUninitialized) == 0 && racing[c].contains(f.site.index); });
    cores_[c].found -= removed;
  }
  for (const Race& race : races) {
    const bool own = race.site.core == race.other.core;
    std::string text = std::string(race.reads ? "reads " : "writes ") + std::to_string(race.hi - race.lo) + " bytes at ";
    text += race.sram_core < 0 ? memory_.place(race.lo) + " (address " + hex(race.lo) + ")"
                               : "SRAM address " + hex(race.lo) + " of core " + std::to_string(race.sram_core);
    text += own ? " that this core itself has written in this phase: " : " that another core writes in the same phase: ";
    text += describe(race.other) + (race.other.line != 0 ? ", source line " + std::to_string(race.other.line) : "") +
            ". Put a barrier (a new phase) between them, or keep their bytes apart";
    add(cores_[race.site.core], {"race", race.site, race.operand, text});
  }
}

void Checker::check_multicasts(bool complete) {
  for (uint32_t group = 0; group < 3; ++group) {
    for (uint32_t c = 0; c < cores_.size(); ++c) {
      // The lowest core of the group is what the others are held against.
      const uint32_t lead = group == RIGI_GROUP_ALL   ? 0
                            : group == RIGI_GROUP_ROW ? c / chip_.grid_cols * chip_.grid_cols
                                                      : c % chip_.grid_cols;
      const auto &mine = cores_[c].multicasts[group], &theirs = cores_[lead].multicasts[group];
      for (size_t n = 0; c != lead && n < std::min(mine.size(), theirs.size()); ++n) {
        const Multicast &x = mine[n], &y = theirs[n];
        if (CoreLog::SpanEqual()(x.dst, y.dst) && x.hbm == y.hbm && x.hbm_stride == y.hbm_stride) continue;
        const bool to = CoreLog::SpanEqual()(x.dst, y.dst);
        add(cores_[c], {"multicast", x.site, to ? "hbm" : "dst",
                        "differs from its partner, " + describe(y.site) +
                            (to ? ": it reads " + hex(x.hbm) + ", not " + hex(y.hbm) + " (or another row pitch)"
                                : ": its destination or size is another one") +
                            ". Destination, HBM block and sizes must be equal in every receiver"});
        break;
      }
      if (!complete || mine.size() == theirs.size()) continue;
      const bool more = mine.size() > theirs.size();
      const Site& site = more ? mine[theirs.size()].site : theirs[mine.size()].site;
      add(cores_[site.core],
          {"multicast", site, "",
           "core " + std::to_string(more ? lead : c) + " never issues its part of this multicast (" +
               std::to_string(std::min(mine.size(), theirs.size())) + " of " + std::to_string(std::max(mine.size(), theirs.size())) +
               " of that group); each core of the group must issue all of them"});
    }
  }
}

void Checker::end(bool complete) {
  check_multicasts(complete);
  for (const Core& core : cores_) {
    if (core.found != 0) publish();
  }
}

void Checker::refuse(const Fault& fault) {
  findings_.add(kernel_, {{"multicast", {.op = "load_multicast"}, "", fault.what()}});
  throw Fault("kernel " + kernel_ + ", " + fault.what());
}

void Checker::publish() {
  std::vector<Finding> found;
  size_t total = 0;
  for (Core& core : cores_) {
    total += core.found;
    std::move(core.findings.begin(), core.findings.end(), std::back_inserter(found));
  }
  std::stable_sort(found.begin(), found.end(), [](const Finding& x, const Finding& y) {
    return std::tie(x.site.phase, x.site.core, x.site.index) < std::tie(y.site.phase, y.site.core, y.site.index);
  });
  if (found.size() > kMost) found.resize(kMost);
  findings_.add(kernel_, found);
  const Finding& first = found.front();
  std::string text = "kernel " + kernel_ + ", " + describe(first.site) + ": ";
  if (*first.operand != 0 && !first.text.starts_with("operand")) text += std::string("operand ") + first.operand + ": ";
  text += first.text + " [" + first.kind + (first.site.line != 0 ? ", source line " + std::to_string(first.site.line) : "") + "]";
  if (total > 1) text += "; and " + std::to_string(total - 1) + " more findings: rigiDeviceTakeFindings";
  throw Fault(text);
}

}  // namespace rigi
