#include "race.hpp"

#include <algorithm>
#include <unordered_set>

namespace rigi {
namespace {

// A contiguous piece of HBM that some instruction wrote.
struct Piece {
  uint64_t lo, hi;
  const HbmUse* use;

  const Site& site() const { return use->site; }
};

bool before(const Site& x, const Site& y) { return x.core != y.core ? x.core < y.core : x.index < y.index; }
uint64_t key(const Site& site) { return uint64_t{site.core} << 32 | site.index; }

class HbmRaces {
 public:
  HbmRaces(const std::vector<CoreLog>& cores, std::vector<Race>& races) : cores_(cores), races_(races) {}

  void find() {
    for (const CoreLog& core : cores_) {
      for (const HbmUse& use : core.writes) use.each_piece([&](uint64_t lo, uint64_t hi) { writes_.push_back({lo, hi, &use}); });
    }
    if (writes_.empty()) return;
    std::sort(writes_.begin(), writes_.end(),
              [](const Piece& x, const Piece& y) { return x.lo != y.lo ? x.lo < y.lo : before(x.site(), y.site()); });
    among_writes();
    furthest_.reserve(writes_.size());
    for (const Piece& w : writes_) furthest_.push_back(std::max(w.hi, furthest_.empty() ? 0 : furthest_.back()));
    for (const CoreLog& core : cores_) {
      for (const HbmUse& load : core.loads) check_load(load);
    }
  }

 private:
  // Of the pieces that begin at or before this one, it is enough to know the one of each core that reaches furthest.
  void among_writes() {
    std::vector<const Piece*> furthest(2 * cores_.size(), nullptr);  // stores and adds of each core
    std::unordered_set<uint64_t> reported;
    for (const Piece& p : writes_) {
      const uint32_t core = p.site().core;
      const bool add = p.use->kind == HbmUse::Add;
      for (size_t other = 0; other < furthest.size(); ++other) {
        const Piece* q = furthest[other];
        if (q == nullptr || q->hi <= p.lo || other / 2 == core || (add && other % 2 == 1)) continue;
        const bool first = before(p.site(), q->site());
        const Site &one = first ? p.site() : q->site(), &two = first ? q->site() : p.site();
        if (reported.insert(key(one)).second) races_.push_back({one, two, false, "hbm", p.lo, std::min(p.hi, q->hi), -1});
      }
      const Piece*& mine = furthest[2 * core + (add ? 1 : 0)];
      if (mine == nullptr || mine->hi < p.hi) mine = &p;
    }
  }

  void check_load(const HbmUse& load) {
    if (!touched(load.addr, load.end())) return;
    bool found = false;
    load.each_piece([&](uint64_t lo, uint64_t hi) {
      if (!found) found = check_piece(load, lo, hi);
    });
  }

  // The number of writes that begin below `hi`.
  size_t writes_below(uint64_t hi) const {
    return static_cast<size_t>(std::lower_bound(writes_.begin(), writes_.end(), hi, [](const Piece& w, uint64_t at) { return w.lo < at; }) -
                               writes_.begin());
  }
  bool touched(uint64_t lo, uint64_t hi) const {
    const size_t n = writes_below(hi);
    return n > 0 && furthest_[n - 1] > lo;
  }

  bool check_piece(const HbmUse& load, uint64_t lo, uint64_t hi) {
    for (size_t n = writes_below(hi); n > 0 && furthest_[n - 1] > lo; --n) {
      const Piece& w = writes_[n - 1];
      if (w.hi <= lo) continue;
      if (w.site().core == load.site.core && w.site().index > load.site.index) continue;  // loaded first, then stored: in order
      races_.push_back({load.site, w.site(), true, *load.site.op == 's' ? "scalar" : "hbm", std::max(lo, w.lo), std::min(hi, w.hi), -1});
      return true;
    }
    return false;
  }

  const std::vector<CoreLog>& cores_;
  std::vector<Race>& races_;
  std::vector<Piece> writes_;       // by first byte
  std::vector<uint64_t> furthest_;  // of the writes up to here, the greatest end
};

// The first bytes that two overlapping spans share.
std::pair<uint64_t, uint64_t> shared(const Span& x, const Span& y) {
  for (uint32_t r = 0; r < x.rows; ++r) {
    const Span row{x.addr + r * x.stride, x.row_bytes, 1, x.row_bytes};
    if (!overlap(row, y)) continue;
    for (uint32_t q = 0; q < y.rows; ++q) {
      const uint32_t lo = std::max(row.addr, y.addr + q * y.stride);
      const uint32_t hi = std::min(row.end(), y.addr + q * y.stride + y.row_bytes);
      if (lo < hi) return {lo, hi};
    }
  }
  return {x.addr, x.end()};
}

void find_sram_races(const std::vector<CoreLog>& cores, std::vector<Race>& races) {
  std::vector<const CoreLog::Send*> sends;
  for (const CoreLog& core : cores) {
    for (const CoreLog::Send& send : core.sends) sends.push_back(&send);
  }
  for (size_t one = 0; one < sends.size(); ++one) {
    for (size_t two = one + 1; two < sends.size(); ++two) {
      const CoreLog::Send &x = *sends[one], &y = *sends[two];
      if (x.target != y.target || x.site.core == y.site.core || !overlap(x.span, y.span)) continue;
      const auto [lo, hi] = shared(x.span, y.span);
      races.push_back({x.site, y.site, false, "dst", lo, hi, static_cast<int>(x.target)});
      break;
    }
  }
  for (uint32_t core = 0; core < cores.size(); ++core) {
    std::unordered_set<uint64_t> reported;
    for (const auto& [span, use] : cores[core].sram) {
      for (const CoreLog::Send* send : sends) {
        if (send->target != core || !overlap(span, send->span)) continue;
        const auto [lo, hi] = shared(span, send->span);
        if (reported.insert(key(use.site)).second)
          races.push_back({use.site, send->site, !use.writes, use.writes ? "dst" : "", lo, hi, static_cast<int>(core)});
        break;
      }
    }
  }
}

}  // namespace

void CoreLog::clear() {
  loads.clear();
  writes.clear();
  sends.clear();
  sram.clear();
}

std::vector<Race> find_races(const std::vector<CoreLog>& cores) {
  std::vector<Race> races;
  HbmRaces(cores, races).find();
  find_sram_races(cores, races);
  return races;
}

}  // namespace rigi
