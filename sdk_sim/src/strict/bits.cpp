#include "bits.hpp"

#include <atomic>
#include <bit>

namespace rigi {
namespace {

uint64_t* word(const Mapping& words, uint64_t position) { return reinterpret_cast<uint64_t*>(words.data()) + position / 64; }

// The bits of the word at `lo` that belong to [lo, hi); `next` is where the following word begins.
uint64_t mask_of(uint64_t lo, uint64_t hi, uint64_t* next) {
  *next = (lo / 64 + 1) * 64;
  uint64_t mask = ~uint64_t{0} << (lo % 64);
  if (hi < *next) mask &= ~uint64_t{0} >> (*next - hi);
  return mask;
}

}  // namespace

void Bits::set(uint64_t lo, uint64_t hi) {
  for (uint64_t next; lo < hi; lo = next) {
    const uint64_t mask = mask_of(lo, hi, &next);
    const std::atomic_ref<uint64_t> w(*word(words_, lo));
    if (mask == ~uint64_t{0}) {
      w.store(mask, std::memory_order_relaxed);
    } else {
      w.fetch_or(mask, std::memory_order_relaxed);
    }
  }
}

void Bits::clear(uint64_t lo, uint64_t hi) {
  constexpr uint64_t kPageBits = uint64_t{4096} * 8;
  if (hi - lo >= 4 * kPageBits) {
    const uint64_t first = (lo + kPageBits - 1) / kPageBits * kPageBits, last = hi / kPageBits * kPageBits;
    release_pages(words_.data() + first / 8, (last - first) / 8);
    clear(lo, first);
    lo = last;
  }
  for (uint64_t next; lo < hi; lo = next) {
    const uint64_t mask = mask_of(lo, hi, &next);
    std::atomic_ref<uint64_t>(*word(words_, lo)).fetch_and(~mask, std::memory_order_relaxed);
  }
}

template <bool Set>
uint64_t Bits::first(uint64_t lo, uint64_t hi) const {
  for (uint64_t next; lo < hi; lo = next) {
    uint64_t mask = mask_of(lo, hi, &next);
    const uint64_t w = std::atomic_ref<uint64_t>(*word(words_, lo)).load(std::memory_order_relaxed);
    mask &= Set ? w : ~w;
    if (mask != 0) return lo / 64 * 64 + static_cast<uint64_t>(std::countr_zero(mask));
  }
  return hi;
}

uint64_t Bits::first_clear(uint64_t lo, uint64_t hi) const { return first<false>(lo, hi); }
uint64_t Bits::first_set(uint64_t lo, uint64_t hi) const { return first<true>(lo, hi); }

std::vector<std::pair<uint64_t, uint64_t>> Bits::runs(uint64_t lo, uint64_t hi) const {
  std::vector<std::pair<uint64_t, uint64_t>> found;
  for (uint64_t from = first_set(lo, hi); from < hi;) {
    const uint64_t to = first_clear(from, hi);
    found.emplace_back(from, to);
    from = first_set(to, hi);
  }
  return found;
}

}  // namespace rigi
