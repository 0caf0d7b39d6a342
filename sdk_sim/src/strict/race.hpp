// Races between the cores of one phase, exact to the byte.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "../timing/access.hpp"
#include "findings.hpp"

namespace rigi {

/// HBM bytes that an instruction read or wrote: `rows` pieces of `row_bytes`, `stride` (>= 0) apart.
struct HbmUse {
  enum Kind : uint8_t { Load, Store, Add };
  uint64_t addr, stride;
  uint32_t rows, row_bytes;
  Kind kind;
  Site site;

  bool solid() const { return rows == 1 || stride == row_bytes; }
  uint64_t end() const { return addr + (rows - 1) * stride + row_bytes; }
  /// Calls visit(lo, hi) for each contiguous piece.
  template <typename Visit>
  void each_piece(Visit&& visit) const {
    if (solid()) return visit(addr, end());
    for (uint64_t r = 0; r < rows; ++r) visit(addr + r * stride, addr + r * stride + row_bytes);
  }
};

/// What one core did in the phase in hand.
struct CoreLog {
  struct Send {
    uint32_t target;
    Span span;  // in the target's SRAM
    Site site;
  };
  struct SpanHash {
    size_t operator()(const Span& s) const {
      return (uint64_t{s.addr} * 0x9e3779b97f4a7c15ULL) ^ (uint64_t{s.rows} << 40) ^ (uint64_t{s.row_bytes} << 20) ^ s.stride;
    }
  };
  struct SpanEqual {
    bool operator()(const Span& x, const Span& y) const {
      return x.addr == y.addr && x.rows == y.rows && x.row_bytes == y.row_bytes && x.stride == y.stride;
    }
  };
  struct OwnUse {
    Site site;  // the first instruction that touched it
    bool writes;
  };

  std::vector<HbmUse> loads, writes;
  std::vector<Send> sends;
  std::unordered_map<Span, OwnUse, SpanHash, SpanEqual> sram;  // its own accesses of its own SRAM

  void clear();
};

/// A race: `site` is where it is reported, `other` its partner.
struct Race {
  Site site, other;
  bool reads;             // what `site` does; `other` writes
  const char* operand;    // of `site`
  uint64_t lo, hi;        // the first bytes they share: HBM addresses, or SRAM addresses of core `sram_core`
  int sram_core;          // -1: HBM
};

/// At most one for each instruction and kind of memory, in no particular order.
std::vector<Race> find_races(const std::vector<CoreLog>& cores);

}  // namespace rigi
