#include "strided.hpp"

#include "program.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace rigi_torch {
namespace {

struct Dim {
  int64_t size, dst, src;  // strides in elements
};
using Dims = c10::SmallVector<Dim, 6>;

/// The dimensions of a copy, outermost in the destination first, neighbours merged where both sides allow.
Dims merge(const at::Tensor& dst, const at::Tensor& src) {
  Dims dims, merged;
  for (int64_t i = 0; i < dst.dim(); i++)
    if (dst.size(i) != 1) dims.push_back({dst.size(i), dst.stride(i), src.stride(i)});
  std::stable_sort(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.dst > b.dst; });
  for (const Dim& dim : dims) {
    if (!merged.empty() && merged.back().dst == dim.dst * dim.size && merged.back().src == dim.src * dim.size) {
      merged.back() = {merged.back().size * dim.size, dim.dst, dim.src};
    } else {
      merged.push_back(dim);
    }
  }
  return merged;
}

bool writes_twice(const Dims& dims) {
  return std::any_of(dims.begin(), dims.end(), [](const Dim& dim) { return dim.dst == 0; });
}

// A tile is what passes through SRAM at once.
constexpr int64_t kTileBytes = 256 * 1024;
constexpr int64_t kTileItems = kTileBytes / 8;
constexpr int64_t kLeastItems = 2048;  // smaller tiles cost more in latency than further cores bring
constexpr int64_t kTransposeSide = 128;
constexpr size_t kMostTiles = 8192;  // beyond this the program itself is the larger part of the work

/// A copy seen as [rows, cols] blocks: cols are next to each other on both sides (or single elements), the other dimensions count blocks.
struct Blocks {
  Dim rows{1, 0, 0}, cols{1, 1, 1};
  Dims outer;

  explicit Blocks(Dims dims) {
    if (!dims.empty() && dims.back().dst == 1 && dims.back().src == 1) {
      cols = dims.back();
      dims.pop_back();
    }
    const auto largest = std::max_element(dims.begin(), dims.end(), [](const Dim& a, const Dim& b) { return a.size < b.size; });
    if (largest != dims.end()) {
      rows = *largest;
      dims.erase(largest);
    }
    outer = std::move(dims);
  }
};

size_t product(const Dims& dims) {
  size_t result = 1;
  for (const Dim& dim : dims) result *= dim.size;
  return result;
}

/// Calls `visit(destination offset, source offset)`, in elements, for every index of the outer dimensions.
template <class Visit>
void each_block(const Dims& outer, Visit&& visit) {
  c10::SmallVector<int64_t, 6> index(outer.size(), 0);
  for (size_t count = product(outer), n = 0; n < count; n++) {
    int64_t dst = 0, src = 0;
    for (size_t i = 0; i < outer.size(); i++) dst += index[i] * outer[i].dst, src += index[i] * outer[i].src;
    visit(dst, src);
    for (size_t i = outer.size(); i > 0; i--) {  // the next index, like an odometer
      if (++index[i - 1] < outer[i - 1].size) break;
      index[i - 1] = 0;
    }
  }
}

/// The shape of tiles for [rows, cols] blocks: whole rows if they fit, and enough tiles for every core.
struct Tiling {
  int64_t rows, cols;
  size_t tiles;

  Tiling(const Blocks& blocks, size_t cores) {
    const int64_t total = blocks.rows.size * blocks.cols.size * product(blocks.outer);
    const int64_t items = std::clamp<int64_t>(total / (2 * cores), kLeastItems, kTileItems);
    cols = std::min(blocks.cols.size, items);
    rows = std::clamp<int64_t>(items / cols, 1, blocks.rows.size);
    tiles = product(blocks.outer) * ((blocks.rows.size + rows - 1) / rows) * ((blocks.cols.size + cols - 1) / cols);
  }
};

/// What happens to the elements of a copy on their way: their sizes in bytes, a cast, int32 made int64.
struct Items {
  int64_t dst, src;
  std::optional<std::pair<rigi_dtype, rigi_dtype>> cast;  // to, from
  bool widen = false;
};

/// How to convert elements on the chip with torch's results: between floats, from small integers, between int32 and int64.
std::optional<Items> conversion(at::ScalarType to, at::ScalarType from) {
  Items items{static_cast<int64_t>(at::elementSize(to)), static_cast<int64_t>(at::elementSize(from)), std::nullopt, false};
  if (to == from) return items;
  if (from == at::kLong && to == at::kInt) {  // the low word, which is what torch keeps
    items.src = 4;
    return items;
  }
  const auto source = chip_dtype(from), target = to == at::kLong ? RIGI_I32 : chip_dtype(to);
  if (!source || !target) return std::nullopt;
  const bool small = from == at::kByte || from == at::kBool || from == at::kChar;
  const bool to_integer = to == at::kInt || to == at::kLong;
  if (!at::isFloatingType(to) && !(to_integer && (small || from == at::kInt))) return std::nullopt;
  items.widen = to == at::kLong;
  if (*source != *target) items.cast = {*target, *source};
  return items;
}

/// Deals tiles to the cores in turn. Each core has two slots of an input and an output tile, used alternately.
class Dealer {
 public:
  explicit Dealer(Program& program) : program_(program) {}
  /// Goes on with the next core; returns the SRAM address of its slot.
  uint32_t next() {
    const uint32_t slot = count_ / program_.cores() % 2;
    program_.on_core(count_++ % program_.cores());
    return slot * 2 * kTileBytes;
  }

 private:
  Program& program_;
  size_t count_ = 0;
};

/// `count` int32 at `in` become int64 at `out`: words and signs as two rows, then transposed. `in` has room for both.
void widen(Program& program, uint32_t in, uint32_t out, int64_t count) {
  const uint32_t pitch = aligned(4 * count);
  const rigi_operand words = Program::operand(in, pitch, RIGI_I32), signs = Program::operand(in + pitch, pitch, RIGI_I32);
  rigi_instr& negative = program.vector(RIGI_COMPARE, signs, words, 1, count);
  negative.fn = RIGI_LT;
  negative.b = Program::number(0);
  rigi_instr& negate = program.vector(RIGI_BINARY, signs, signs, 1, count);
  negate.fn = RIGI_MUL;
  negate.b = Program::number(-1);
  program.vector(RIGI_TRANSPOSE, Program::operand(out, 8, RIGI_I32), words, 2, count);
}

bool copy_rows(const Blocks& blocks, char* dst, const char* src, const Items& items, Program& program) {
  const Tiling tiling(blocks, program.cores());
  if (tiling.tiles > kMostTiles) return false;
  Dealer dealer(program);
  each_block(blocks.outer, [&](int64_t dst_block, int64_t src_block) {
    for (int64_t r = 0; r < blocks.rows.size; r += tiling.rows) {
      for (int64_t c = 0; c < blocks.cols.size; c += tiling.cols) {
        const int64_t rows = std::min(tiling.rows, blocks.rows.size - r), cols = std::min(tiling.cols, blocks.cols.size - c);
        uint32_t here = dealer.next(), there = here + kTileBytes;
        program.load(here, cols * items.src, src + (src_block + r * blocks.rows.src + c) * items.src, blocks.rows.src * items.src, rows,
                     cols * items.src);
        if (items.cast) {
          const auto [to, from] = *items.cast;
          const int64_t width = items.widen ? 4 : items.dst;
          program.vector(RIGI_CAST, Program::operand(there, cols * width, to), Program::operand(here, cols * items.src, from), rows, cols);
          std::swap(here, there);
        }
        if (items.widen) {
          widen(program, here, there, rows * cols);
          std::swap(here, there);
        }
        program.store(here, cols * items.dst, dst + (dst_block + r * blocks.rows.dst + c) * items.dst, blocks.rows.dst * items.dst, rows,
                      cols * items.dst);
      }
    }
  });
  program.launch("copy");
  return true;
}

/// A copy that swaps two dimensions: `inner` is contiguous in the destination, `across` in the source.
bool copy_transposed(const Dim& inner, const Dim& across, const Dims& outer, char* dst, const char* src, int64_t item, Program& program) {
  const auto sides = [](const Dim& dim) { return (dim.size + kTransposeSide - 1) / kTransposeSide; };
  if (product(outer) * sides(inner) * sides(across) > kMostTiles) return false;
  const rigi_dtype dtype = item == 4 ? RIGI_I32 : RIGI_BF16;  // bits are moved, not numbers
  Dealer dealer(program);
  each_block(outer, [&](int64_t dst_block, int64_t src_block) {
    for (int64_t a = 0; a < across.size; a += kTransposeSide) {
      for (int64_t i = 0; i < inner.size; i += kTransposeSide) {
        const int64_t rows = std::min(kTransposeSide, inner.size - i), cols = std::min(kTransposeSide, across.size - a);
        const uint32_t in = dealer.next(), out = in + kTileBytes;
        program.load(in, cols * item, src + (src_block + i * inner.src + a) * item, inner.src * item, rows, cols * item);
        program.vector(RIGI_TRANSPOSE, Program::operand(out, rows * item, dtype), Program::operand(in, cols * item, dtype), rows, cols);
        program.store(out, rows * item, dst + (dst_block + a * across.dst + i) * item, across.dst * item, cols, rows * item);
      }
    }
  });
  program.launch("copy");
  return true;
}

char* bytes_of(const at::Tensor& tensor) { return static_cast<char*>(tensor.data_ptr()); }

}  // namespace

std::optional<Pieces> cut(const at::Tensor& dst, const at::Tensor& src, size_t limit) {
  Dims dims = merge(dst, src);
  if (writes_twice(dims)) return std::nullopt;  // torch's own check says why not
  const size_t item = dst.element_size();
  Pieces pieces{item, {{0, 0}}};
  if (!dims.empty() && dims.back().dst == 1 && dims.back().src == 1) {
    pieces.bytes *= dims.back().size;
    dims.pop_back();
  }
  if (product(dims) > limit) return std::nullopt;
  pieces.offsets.clear();
  each_block(dims, [&](int64_t to, int64_t from) { pieces.offsets.emplace_back(to * item, from * item); });
  return pieces;
}

bool copy_by_program(const at::Tensor& dst, const at::Tensor& src) {
  Dims dims = merge(dst, src);
  if (writes_twice(dims) || src.is_conj() != dst.is_conj() || src.is_neg() != dst.is_neg()) return false;
  const auto found = conversion(dst.scalar_type(), src.scalar_type());
  if (!found) return false;
  const Items items = *found;
  if (src.scalar_type() == at::kLong && items.src == 4)
    for (Dim& dim : dims) dim.src *= 2;
  Program program(dst.device().index());
  if (!items.cast && !items.widen && items.dst == items.src && src.scalar_type() == dst.scalar_type() &&
      (items.dst == 2 || items.dst == 4) && dims.size() >= 2 && dims.back().dst == 1) {
    const auto across = std::find_if(dims.begin(), dims.end() - 1, [](const Dim& dim) { return dim.src == 1; });
    if (across != dims.end() - 1 && across->size > 1 && dims.back().src > 1) {
      const Dim inner = dims.back(), swapped = *across;
      dims.pop_back();
      dims.erase(across);
      return copy_transposed(inner, swapped, dims, bytes_of(dst), bytes_of(src), items.dst, program);
    }
  }
  return copy_rows(Blocks(std::move(dims)), bytes_of(dst), bytes_of(src), items, program);
}

bool fill_by_program(const at::Tensor& self, const at::Scalar& value) {
  const bool wide = self.scalar_type() == at::kLong;
  const auto dtype = wide ? RIGI_I32 : chip_dtype(self.scalar_type());
  if (!dtype || value.isComplex() || self.is_neg() || self.is_conj()) return false;
  double number = self.scalar_type() == at::kBool ? static_cast<double>(value.toBool()) : value.toDouble();
  if (at::isIntegralType(self.scalar_type(), true)) {
    if (!value.isIntegral(true) || std::abs(number) > (1 << 24)) return false;
    if (!wide && self.scalar_type() != at::kInt &&
        (number < (self.scalar_type() == at::kChar ? -128 : 0) || number > (self.scalar_type() == at::kChar ? 127 : 255)))
      return false;  // torch raises
  }
  const Dims dims = merge(self, self);
  if (writes_twice(dims)) return false;
  const Blocks blocks(dims);
  Program program(self.device().index());
  const Tiling tiling(blocks, program.cores());
  if (tiling.tiles > kMostTiles) return false;

  const int64_t item = self.element_size(), count = tiling.rows * tiling.cols;
  const size_t busy = std::min(tiling.tiles, program.cores());
  for (size_t core = 0; core < busy; core++) {
    program.on_core(core);
    if (wide) {  // low words, and the sign in the high ones
      program.fill(Program::operand(0, 8 * count, RIGI_I32), number < 0 ? -1.0F : 0.0F, 1, 2 * count);
      program.fill(Program::operand(0, 8, RIGI_I32), static_cast<float>(number), count, 1);
    } else {
      program.fill(Program::operand(0, item * count, *dtype), static_cast<float>(number), 1, count);
    }
  }
  size_t tile = 0;
  each_block(blocks.outer, [&](int64_t block, int64_t) {
    for (int64_t r = 0; r < blocks.rows.size; r += tiling.rows) {
      for (int64_t c = 0; c < blocks.cols.size; c += tiling.cols) {
        const int64_t rows = std::min(tiling.rows, blocks.rows.size - r), cols = std::min(tiling.cols, blocks.cols.size - c);
        program.on_core(tile++ % program.cores());
        program.store(0, cols * item, bytes_of(self) + (block + r * blocks.rows.dst + c) * item, blocks.rows.dst * item, rows, cols * item);
      }
    }
  });
  program.launch("fill");
  return true;
}

}  // namespace rigi_torch
