#include "lazy.hpp"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "../exec/exec.hpp"

namespace rigi {
namespace {

constexpr size_t kMostWaiting = 16;
constexpr uint32_t kFewRows = 16;  // an mma of more rows reads B more than once: then a copy in cache is worth its price

// First and one past the last byte of `rows` pieces of `row_bytes`, `stride` apart, in HBM.
std::pair<uint64_t, uint64_t> hbm_range(const rigi_instr& i) {
  const uint64_t last = i.hbm + static_cast<uint64_t>((int64_t{i.rows} - 1) * i.hbm_stride);
  return {std::min(i.hbm, last), std::max(i.hbm, last) + i.cols};
}

// Whether every byte of `y` is one of `x`. Sure when it says yes.
bool covers(const Span& x, const Span& y) {
  if (x.addr == y.addr && x.stride == y.stride && x.rows >= y.rows && x.row_bytes >= y.row_bytes) return true;
  return (x.rows == 1 || x.stride == x.row_bytes) && x.addr <= y.addr && y.end() <= x.end();
}

struct Place {
  const uint8_t* base = nullptr;
  int64_t stride = 0;
};

// Where the bytes of `part`, an SRAM block within the load's destination, lie in HBM; nullptr if they are no block of rows there.
Place in_hbm(const rigi_instr& load, const Span& part) {
  Span whole{load.dst.addr, load.cols, load.rows, static_cast<uint32_t>(load.dst.stride)};
  int64_t hbm_stride = load.hbm_stride;
  if (part.addr < whole.addr || part.end() > whole.end()) return {};
  if (whole.rows > 1 && whole.stride == whole.row_bytes && hbm_stride == static_cast<int64_t>(whole.row_bytes)) {
    whole = {whole.addr, whole.rows * whole.row_bytes, 1, 0};
  }
  const uint32_t offset = part.addr - whole.addr;
  const auto* hbm = reinterpret_cast<const uint8_t*>(load.hbm);
  if (whole.rows == 1) return {hbm + offset, part.stride};
  const uint32_t row = offset / whole.stride, column = offset % whole.stride;
  if (column + part.row_bytes > whole.row_bytes || (part.rows > 1 && part.stride != whole.stride)) return {};
  return {hbm + row * hbm_stride + column, hbm_stride};
}

}  // namespace

uint64_t LazyLoads::least_by_default() {
  const char* text = std::getenv("RIGI_LAZY_LOAD_BYTES");
  return text == nullptr || *text == '\0' ? uint64_t{16} << 10 : std::strtoull(text, nullptr, 10);
}

void LazyLoads::rigi_execute(const rigi_instr& instr, CoreState& core) { rigi::execute(instr, core); }

void LazyLoads::carry_out(size_t index, CoreState& core) {
  const rigi_instr load = waiting_[index].instr;
  waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(index));
  rigi::execute(load, core);
}

void LazyLoads::execute_among(const rigi_instr& i, CoreState& core) {
  const Access access = access_of(i);
  const auto touches = [](const Span* spans, int n, const Span& x) {
    return std::any_of(spans, spans + n, [&](const Span& span) { return overlap(span, x); });
  };
  const bool few_rows = i.op == RIGI_MMA && i.rows <= kFewRows;
  Place b;
  for (size_t w = 0; w < waiting_.size();) {
    const Load& load = waiting_[w];
    const bool written = touches(access.writes, access.num_writes, load.sram);
    if (few_rows && !written && !overlap(access.reads[0], load.sram)) {
      if (const Place place = in_hbm(load.instr, access.reads[1]); place.base != nullptr) {
        b = place;
        ++w;
        continue;
      }
    }
    const bool read = touches(access.reads, access.num_reads, load.sram);
    if (written && !read && access.num_writes == 1 && covers(access.writes[0], load.sram)) {
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(w));
      continue;
    }
    bool overwritten = i.op == RIGI_SCATTER;  // which rows, only data tells
    if (i.op == RIGI_STORE) {
      const auto [first, end] = hbm_range(i);
      overwritten = first < load.hbm_end && load.hbm_first < end;
    }
    if (read || written || overwritten) {
      carry_out(w, core);
    } else {
      ++w;
    }
  }
  if (b.base != nullptr) return execute_mma(i, core, b.base, b.stride);
  if (!may_wait(i)) return rigi::execute(i, core);
  if (waiting_.size() == kMostWaiting) carry_out(0, core);
  const auto [first, end] = hbm_range(i);
  waiting_.push_back({i, access.writes[0], first, end});
}

void LazyLoads::read(uint32_t sram, uint32_t bytes, CoreState& core) {
  const Span span{sram, bytes, 1, bytes};
  for (size_t w = waiting_.size(); w-- > 0;) {
    if (overlap(span, waiting_[w].sram)) carry_out(w, core);
  }
}

void LazyLoads::end_phase(bool last, CoreState& core) {
  if (last) waiting_.clear();
  while (!waiting_.empty()) carry_out(0, core);
}

}  // namespace rigi
