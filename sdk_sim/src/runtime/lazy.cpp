#include "lazy.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "../exec/exec.hpp"

namespace rigi {
namespace {

constexpr size_t kMostWaiting = 16;
// Of a row of B that one product reads at the most: all of a shorter row, so that the rows follow each other in memory, or a part.
constexpr uint32_t kRowBytes = 16384, kRunBytes = 8192;
constexpr uint32_t kFewRows = 16;  // an mma of more rows reads B more than once: then a copy in cache is worth its price

// First and one past the last byte of `rows` pieces of `row_bytes`, `stride` apart.
std::pair<uint64_t, uint64_t> range(uint64_t first, int64_t rows, int64_t stride, uint64_t row_bytes) {
  const uint64_t last = first + static_cast<uint64_t>((rows - 1) * stride);
  return {std::min(first, last), std::max(first, last) + row_bytes};
}
std::pair<uint64_t, uint64_t> hbm_range(const rigi_instr& i) { return range(i.hbm, i.rows, i.hbm_stride, i.cols); }

// Whether an instruction may write HBM from `first` to `end`. A scatter may: which rows, only data tells.
bool may_write(const rigi_instr& i, uint64_t first, uint64_t end) {
  if (i.op != RIGI_STORE) return i.op == RIGI_SCATTER;
  const auto [from, to] = hbm_range(i);
  return from < end && first < to;
}

bool touch(const Span* spans, int n, const Span& x) {
  return std::any_of(spans, spans + n, [&](const Span& span) { return overlap(span, x); });
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

void LazyLoads::finish_product(CoreState& core) {
  if (!std::exchange(product_.open, false)) return;
  execute_mma(product_.instr, core, product_.a.data(), product_.b, product_.b_stride);
}

// Adds an mma to the product that waits, or makes it the one that does.
void LazyLoads::multiply(const rigi_instr& i, const Span& c, const uint8_t* b, int64_t b_stride, CoreState& core) {
  const uint32_t size = dtype_bytes(i.a.dtype), bytes = i.depth * size;
  const uint32_t most = b_stride > 0 && b_stride <= kRowBytes ? kRowBytes : kRunBytes;
  rigi_instr& all = product_.instr;
  const bool carries_on = product_.open && (i.flags & RIGI_ACCUMULATE) != 0 && i.rows == all.rows && i.cols == all.cols &&
                          i.a.dtype == all.a.dtype && i.b.dtype == all.b.dtype && i.dst.addr == all.dst.addr &&
                          i.dst.stride == all.dst.stride && b_stride == product_.b_stride && b == product_.b + all.depth * size &&
                          all.depth * size + bytes <= most;
  if (!carries_on) {
    finish_product(core);
    product_.open = true;
    product_.b = b;
    product_.b_stride = b_stride;
    product_.c = c;
    all = i;
    all.depth = 0;
    all.a.stride = static_cast<int32_t>(std::max(most, bytes));
    product_.a.resize(size_t{i.rows} * static_cast<uint32_t>(all.a.stride));
  }
  for (int64_t m = 0; m < i.rows; ++m) {
    std::memcpy(product_.a.data() + m * all.a.stride + all.depth * size, core.sram + i.a.addr + m * i.a.stride, bytes);
  }
  all.depth += i.depth;
}

// Whether an instruction other than the next mma of the product touches its C, or may write what it still has to read.
bool LazyLoads::product_minds(const rigi_instr& i, const Access& access) const {
  if (!product_.open) return false;
  if (touch(access.reads, access.num_reads, product_.c) || touch(access.writes, access.num_writes, product_.c)) return true;
  const rigi_instr& all = product_.instr;
  const auto [first, end] =
      range(reinterpret_cast<uint64_t>(product_.b), all.cols, product_.b_stride, uint64_t{all.depth} * dtype_bytes(all.b.dtype));
  return may_write(i, first, end);
}

void LazyLoads::execute_among(const rigi_instr& i, CoreState& core) {
  const Access access = access_of(i);
  const bool few_rows = i.op == RIGI_MMA && i.rows <= kFewRows;
  Place b;
  for (size_t w = 0; w < waiting_.size();) {
    const Load& load = waiting_[w];
    const bool written = touch(access.writes, access.num_writes, load.sram);
    if (few_rows && !written && !overlap(access.reads[0], load.sram)) {
      if (const Place place = in_hbm(load.instr, access.reads[1]); place.base != nullptr) {
        b = place;
        ++w;
        continue;
      }
    }
    const bool read = touch(access.reads, access.num_reads, load.sram);
    if (written && !read && access.num_writes == 1 && covers(access.writes[0], load.sram)) {
      waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(w));
      continue;
    }
    if (read || written || may_write(i, load.hbm_first, load.hbm_end)) {
      carry_out(w, core);
    } else {
      ++w;
    }
  }
  if (b.base != nullptr && (i.flags & RIGI_TRANS_B) != 0 && !touch(access.reads, 2, access.writes[0])) {
    return multiply(i, access.writes[0], b.base, b.stride, core);
  }
  if (product_minds(i, access)) finish_product(core);
  if (b.base != nullptr) return execute_mma(i, core, core.sram + i.a.addr, b.base, b.stride);
  if (!may_wait(i)) return rigi::execute(i, core);
  if (waiting_.size() == kMostWaiting) carry_out(0, core);
  const auto [first, end] = hbm_range(i);
  waiting_.push_back({i, access.writes[0], first, end});
}

void LazyLoads::read(uint32_t sram, uint32_t bytes, CoreState& core) {
  const Span span{sram, bytes, 1, bytes};
  if (product_.open && overlap(span, product_.c)) finish_product(core);
  for (size_t w = waiting_.size(); w-- > 0;) {
    if (overlap(span, waiting_[w].sram)) carry_out(w, core);
  }
}

void LazyLoads::end_phase(bool last, CoreState& core) {
  if (last) {
    waiting_.clear();
    product_.open = false;
  }
  finish_product(core);
  while (!waiting_.empty()) carry_out(0, core);
}

}  // namespace rigi
