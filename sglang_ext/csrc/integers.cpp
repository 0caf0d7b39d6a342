#include "integers.hpp"

#include <ATen/MemoryOverlap.h>

#include <cmath>

#include "alias.hpp"
#include "bounds.hpp"
#include "program.hpp"

namespace rigi_torch {
namespace {

constexpr int64_t kMostItems = 4096;               // of a vector; a dozen rows of words fit into SRAM
constexpr int64_t kMostProducts = 1024;           // a product takes up to 300 rows
constexpr int64_t kMostMoved = 512 * 1024;         // bytes of gathered or scattered rows
constexpr int64_t kMostDimensions = 4;             // that are indexed
constexpr double kExact = 1 << 24;                 // immediates are fp32
constexpr float kLowest = -2147483648.0F;          // added to both sides, makes a signed comparison an unsigned one
constexpr uint32_t kRowsBegin = kMostMoved + 64;   // SRAM: moved rows first, then words; of a write by index the old rows between

/// Vectors of `count` integers on one core. An int64 vector is two rows of words; an int32 one is its words alone.
class Vectors {
 public:
  struct Row {
    uint32_t at;
  };
  struct Wide {
    Row low, high;
  };

  Vectors(c10::DeviceIndex device, int64_t count, uint32_t begin = kRowsBegin)
      : program(device), count_(count), pitch_(aligned(4 * count)), next_(begin) {}

  Program program;

  Row words(const at::Tensor& tensor) {
    const Row row = next();
    program.load(row.at, pitch_, pointer(tensor), 0, 1, 4 * count_);
    return row;
  }
  Wide wide(const at::Tensor& tensor) {
    const Row raw = next(2), rows = next(2);
    program.load(raw.at, 8 * count_, pointer(tensor), 0, 1, 8 * count_);
    program.vector(RIGI_TRANSPOSE, Program::operand(rows.at, pitch_, RIGI_I32), Program::operand(raw.at, 8, RIGI_I32), count_, 2);
    return {rows, {rows.at + pitch_}};
  }
  Row constant(double value) {
    const Row row = next();
    program.fill(operand(row), static_cast<float>(value), 1, count_);
    return row;
  }
  Wide wide_constant(double value) { return {constant(value), constant(value < 0 ? -1 : 0)}; }

  void store(Row row, const at::Tensor& tensor) { program.store(row.at, pitch_, pointer(tensor), 0, 1, 4 * count_); }
  void store(Wide value, const at::Tensor& tensor) {
    const Row rows = next(2), raw = next(2);
    copy(value.low, rows);
    copy(value.high, {rows.at + pitch_});
    program.vector(RIGI_TRANSPOSE, Program::operand(raw.at, 8, RIGI_I32), Program::operand(rows.at, pitch_, RIGI_I32), 2, count_);
    program.store(raw.at, 8 * count_, pointer(tensor), 0, 1, 8 * count_);
  }

  Row binary(rigi_binary fn, Row a, Row b) { return combine(RIGI_BINARY, fn, a, operand(b)); }
  Row binary(rigi_binary fn, Row a, float b) { return combine(RIGI_BINARY, fn, a, Program::number(b)); }
  Row compare(rigi_compare fn, Row a, Row b) { return combine(RIGI_COMPARE, fn, a, operand(b)); }
  Row compare(rigi_compare fn, Row a, float b) { return combine(RIGI_COMPARE, fn, a, Program::number(b)); }
  Row both(Row a, Row b) { return binary(RIGI_MUL, a, b); }
  Row either(Row a, Row b) { return binary(RIGI_MAX, a, b); }
  Row below_unsigned(Row a, Row b) { return compare(RIGI_LT, binary(RIGI_ADD, a, kLowest), binary(RIGI_ADD, b, kLowest)); }
  Row below(Wide a, Wide b) {
    return either(compare(RIGI_LT, a.high, b.high), both(compare(RIGI_EQ, a.high, b.high), below_unsigned(a.low, b.low)));
  }
  Wide add(Wide a, Wide b) {
    const Row low = binary(RIGI_ADD, a.low, b.low);
    return {low, binary(RIGI_ADD, binary(RIGI_ADD, a.high, b.high), below_unsigned(low, a.low))};
  }
  Wide subtract(Wide a, Wide b) {
    const Row borrow = below_unsigned(a.low, b.low);
    return {binary(RIGI_SUB, a.low, b.low), binary(RIGI_SUB, binary(RIGI_SUB, a.high, b.high), borrow)};
  }
  /// Double and add, from the highest bit of `factor` >= 1 on.
  Wide multiply(Wide a, uint32_t factor) {
    Wide product = a;
    for (int bit = 30 - __builtin_clz(factor); bit >= 0; bit--) {
      product = add(product, product);
      if (factor >> bit & 1) product = add(product, a);
    }
    return product;
  }
  Row select(Row condition, Row a, rigi_operand b) {
    const Row result = next();
    rigi_instr& instr = program.vector(RIGI_SELECT, operand(result), operand(a), 1, count_);
    instr.b = b;
    instr.c = operand(condition);
    return result;
  }
  Row select(Row condition, Row a, Row b) { return select(condition, a, operand(b)); }
  /// One element: the largest.
  Row largest(Row a) {
    const Row result = next();
    program.vector(RIGI_REDUCE, operand(result), operand(a), 1, count_).fn = RIGI_RMAX;
    return result;
  }
  /// Leaves a record of each index where `bad` is 1, of equal bytes for all: the last one stays.
  void record(const at::Tensor& indices, float size, Row bad, const IndexRecord* none, const IndexRecord* record) {
    constexpr int64_t bytes = sizeof(IndexRecord);
    const Row rows = next(4);
    const auto item = static_cast<int64_t>(indices.element_size());
    program.fill(Program::operand(rows.at, bytes * count_, RIGI_I32), size, 1, 4 * count_);
    program.load(rows.at, bytes, pointer(indices), item, count_, item);
    program.scatter(rows.at, reinterpret_cast<const char*>(none), bytes * (record - none), bad.at, count_, bytes);
  }

 private:
  static const char* pointer(const at::Tensor& tensor) { return static_cast<const char*>(tensor.const_data_ptr()); }
  Row next(int rows = 1) {
    const Row row{next_};
    next_ += rows * pitch_;
    return row;
  }
  rigi_operand operand(Row row) const { return Program::operand(row.at, pitch_, RIGI_I32); }
  void copy(Row from, Row to) { program.vector(RIGI_COPY, operand(to), operand(from), 1, count_); }
  Row combine(rigi_op op, int fn, Row a, rigi_operand b) {
    const Row result = next();
    rigi_instr& instr = program.vector(op, operand(result), operand(a), 1, count_);
    instr.fn = static_cast<uint8_t>(fn);
    instr.b = b;
    return result;
  }

  int64_t count_;
  uint32_t pitch_, next_;
};

bool is_integer(const at::Tensor& tensor) { return tensor.scalar_type() == at::kLong || tensor.scalar_type() == at::kInt; }

/// Tensors of one dtype and shape that a program can take whole. What overlaps in part is left to torch, which refuses it.
bool fits(const at::Tensor& self, const at::Tensor& out) {
  return is_integer(self) && out.scalar_type() == self.scalar_type() && self.sizes() == out.sizes() && self.is_contiguous() &&
         out.is_contiguous() && self.numel() > 0 && self.numel() <= kMostItems &&
         at::get_overlap_status(self, out) != at::MemOverlapStatus::Partial;
}

/// A host scalar's value, if it is a small whole number.
std::optional<double> small(const at::Scalar& scalar) {
  if (!scalar.isIntegral(/*includeBool=*/false)) return std::nullopt;
  const double value = scalar.toDouble();
  return std::abs(value) <= kExact ? std::optional(value) : std::nullopt;
}

c10::IntArrayRef drop_ones(c10::IntArrayRef sizes) {
  while (!sizes.empty() && sizes.front() == 1) sizes = sizes.slice(1);
  return sizes;
}

/// Positions of the rows named by `indices`, int32.
class RowIndex {
 public:
  int64_t count = 0, bytes = 0;  // rows, and bytes of each

  RowIndex(const at::Tensor& self, const Indices& indices) {
    const auto leading = static_cast<int64_t>(indices.size());
    if (leading < 1 || leading > std::min(self.dim(), kMostDimensions) || !self.is_contiguous() || self.is_conj() || self.is_neg()) return;
    for (int64_t i = 0; i < leading; i++) {
      const std::optional<at::Tensor>& index = indices.get(i);
      if (!index || !index->defined() || !on_chip(*index) || index->device() != self.device() || !is_integer(*index)) return;
      if (!index->is_contiguous() || self.size(i) > kExact || (i > 0 && index->sizes() != indices_[0].sizes())) return;
      indices_.push_back(*index);
      sizes_.push_back(self.size(i));
    }
    int64_t rows = 1;
    for (const int64_t size : sizes_) rows *= size;
    if (rows == 0 || rows > INT32_MAX) return;
    count = indices_[0].numel();
    bytes = static_cast<int64_t>(self.element_size()) * (self.numel() / rows);
    shape_.assign(indices_[0].sizes().begin(), indices_[0].sizes().end());
    for (int64_t i = leading; i < self.dim(); i++) shape_.push_back(self.size(i));
    usable_ = count <= kMostItems && bytes > 0 && count * bytes <= kMostMoved;
  }

  /// Whether a program can move these rows from or to `other`. `x[i] = values` arrives with the leading ones of values' shape dropped.
  bool serves(const at::Tensor& self, const at::Tensor& other, bool leading_ones = false) const {
    const c10::IntArrayRef whole(shape_);
    const bool same_shape = other.sizes() == whole || (leading_ones && drop_ones(other.sizes()) == drop_ones(whole));
    return usable_ && same_shape && on_chip(other) && other.device() == self.device() && other.scalar_type() == self.scalar_type() &&
           other.is_contiguous() && !other.storage().is_alias_of(self.storage());
  }

  struct Rows {
    Vectors::Row row;  // 0 for an index outside
    Vectors::Row bad;  // whether it was
  };
  /// Computes the rows, and leaves a record of an index outside under the name of `op`.
  Rows compute(Vectors& vectors, const char* op, c10::DeviceIndex device) const {
    const IndexRecord* records = index_records(device, op, arguments(), kProgramColumns);
    Rows all{};
    for (size_t i = 0; i < indices_.size(); i++) {
      const auto size = static_cast<float>(sizes_[i]);
      const bool wide = indices_[i].scalar_type() == at::kLong;
      Vectors::Row word{}, extends{};  // whether it is more than a word
      if (wide) {
        const Vectors::Wide index = vectors.wide(indices_[i]);
        word = index.low;
        extends = vectors.compare(RIGI_NE, index.high, vectors.binary(RIGI_MUL, vectors.compare(RIGI_LT, word, 0.0F), -1.0F));
      } else {
        word = vectors.words(indices_[i]);
      }
      const Vectors::Row wrapped = vectors.binary(RIGI_ADD, word, vectors.binary(RIGI_MUL, vectors.compare(RIGI_LT, word, 0.0F), size));
      const Vectors::Row inside = vectors.binary(RIGI_MAX, vectors.binary(RIGI_MIN, wrapped, size - 1), 0.0F);
      Vectors::Row bad = vectors.compare(RIGI_NE, wrapped, inside);
      if (wide) bad = vectors.either(bad, extends);
      const int column = wide ? kInt64Column : kInt32Column;
      vectors.record(indices_[i], size, bad, &records[column], &records[(i + 1) * kProgramColumns + column]);
      all.row = i > 0 ? vectors.binary(RIGI_ADD, vectors.binary(RIGI_MUL, all.row, size), inside) : inside;
      all.bad = i > 0 ? vectors.either(all.bad, bad) : bad;
    }
    return all;
  }

 private:
  static const std::vector<IndexArgument>& arguments() {
    static const auto* all = [] {
      auto* made = new std::vector<IndexArgument>;
      for (int64_t i = 0; i < kMostDimensions; i++)
        made->push_back({c10::str("indices[", i, "]"), c10::str("dimension ", i, " of 'self'"), /*wraps=*/true});
      return made;
    }();
    return *all;
  }

  std::vector<at::Tensor> indices_;
  std::vector<int64_t> sizes_;
  c10::SmallVector<int64_t, 6> shape_;
  bool usable_ = false;
};

}  // namespace

bool add_integers(const at::Tensor& self, const at::Tensor& other, const at::Scalar& alpha, bool subtract, const at::Tensor& out) {
  if (!on_chip(self) || !on_chip(out) || !fits(self, out) || !alpha.isIntegral(false) || alpha.toLong() != 1) return false;
  std::optional<double> number;
  if (on_chip(other)) {
    if (!fits(other, out) || other.device() != self.device()) return false;
  } else {
    if (other.dim() != 0 || !at::isIntegralType(other.scalar_type(), false)) return false;
    number = small(other.item());
    if (!number) return false;
  }
  Vectors vectors(self.device().index(), self.numel());
  const rigi_binary fn = subtract ? RIGI_SUB : RIGI_ADD;
  if (self.scalar_type() == at::kInt) {
    const Vectors::Row a = vectors.words(self), b = number ? vectors.constant(*number) : vectors.words(other);
    vectors.store(vectors.binary(fn, a, b), out);
  } else {
    const Vectors::Wide a = vectors.wide(self), b = number ? vectors.wide_constant(*number) : vectors.wide(other);
    vectors.store(subtract ? vectors.subtract(a, b) : vectors.add(a, b), out);
  }
  vectors.program.launch(subtract ? "sub" : "add");
  return true;
}

bool multiply_integers(const at::Tensor& self, const at::Tensor& other, const at::Tensor& out) {
  if (!on_chip(self) || !on_chip(out) || !fits(self, out) || self.numel() > kMostProducts) return false;
  if (on_chip(other) || other.dim() != 0 || !at::isIntegralType(other.scalar_type(), false)) return false;
  const std::optional<double> number = small(other.item());
  if (!number) return false;
  Vectors vectors(self.device().index(), self.numel());
  if (self.scalar_type() == at::kInt) {
    vectors.store(vectors.binary(RIGI_MUL, vectors.words(self), vectors.constant(*number)), out);
  } else {
    const Vectors::Wide zero = vectors.wide_constant(0), value = vectors.wide(self);
    const auto factor = static_cast<uint32_t>(std::abs(*number));
    const Vectors::Wide product = factor == 0 ? zero : vectors.multiply(value, factor);
    vectors.store(*number < 0 ? vectors.subtract(zero, product) : product, out);
  }
  vectors.program.launch("mul");
  return true;
}

bool clamp_integers(const at::Tensor& self, const std::optional<at::Scalar>& min, const std::optional<at::Scalar>& max,
                    const at::Tensor& out) {
  if (!on_chip(self) || !on_chip(out) || !fits(self, out)) return false;
  const double low = min ? small(*min).value_or(kExact + 1) : 0, high = max ? small(*max).value_or(kExact + 1) : 0;
  if (low > kExact || high > kExact) return false;
  Vectors vectors(self.device().index(), self.numel());
  if (self.scalar_type() == at::kInt) {
    Vectors::Row value = vectors.words(self);
    if (min) value = vectors.binary(RIGI_MAX, value, vectors.constant(low));
    if (max) value = vectors.binary(RIGI_MIN, value, vectors.constant(high));
    vectors.store(value, out);
  } else {
    Vectors::Wide value = vectors.wide(self);
    const auto limit = [&](double number, bool upper) {
      const Vectors::Wide bound = vectors.wide_constant(number);
      const Vectors::Row beyond = upper ? vectors.below(bound, value) : vectors.below(value, bound);
      value = {vectors.select(beyond, bound.low, value.low), vectors.select(beyond, bound.high, value.high)};
    };
    if (min) limit(low, false);
    if (max) limit(high, true);
    vectors.store(value, out);
  }
  vectors.program.launch("clamp");
  return true;
}

bool gather_rows(const at::Tensor& self, const Indices& indices, const at::Tensor& out) {
  if (!on_chip(self)) return false;
  const RowIndex index(self, indices);
  if (!index.serves(self, out)) return false;
  if (index.count == 0) return true;
  const c10::DeviceIndex device = self.device().index();
  Vectors vectors(device, index.count);
  const uint32_t rows = index.compute(vectors, "aten::index", device).row.at;
  vectors.program.gather(0, static_cast<const char*>(self.const_data_ptr()), rows, index.count, index.bytes);
  vectors.program.store(0, index.bytes, static_cast<const char*>(out.const_data_ptr()), index.bytes, index.count, index.bytes);
  vectors.program.launch("index");
  return true;
}

bool scatter_rows(const at::Tensor& self, const Indices& indices, const at::Tensor& values) {
  if (!on_chip(self)) return false;
  const RowIndex index(self, indices);
  if (!index.serves(self, values, /*leading_ones=*/true)) return false;
  if (index.count == 0) return true;
  const c10::DeviceIndex device = self.device().index();
  Vectors vectors(device, index.count, 2 * kRowsBegin);
  Program& program = vectors.program;
  const auto* to = static_cast<const char*>(self.const_data_ptr());
  program.load(0, index.bytes, static_cast<const char*>(values.const_data_ptr()), index.bytes, index.count, index.bytes);
  const RowIndex::Rows rows = index.compute(vectors, "aten::index_put_", device);
  // With an index outside nothing changes: every row is written as it was.
  const rigi_dtype dtype = index.bytes % 4 == 0 ? RIGI_I32 : RIGI_U8;
  const uint32_t any_bad = vectors.largest(rows.bad).at;
  const auto block = [&](uint32_t at) { return Program::operand(at, index.bytes, dtype); };
  program.gather(kRowsBegin, to, rows.row.at, index.count, index.bytes);
  rigi_instr& chosen = program.vector(RIGI_SELECT, block(0), block(kRowsBegin), index.count, index.bytes / (dtype == RIGI_I32 ? 4 : 1));
  chosen.b = block(0);
  chosen.c = {any_bad, 0, RIGI_I32, RIGI_COL, 0, 0.0F};
  program.scatter(0, to, index.bytes, rows.row.at, index.count, index.bytes);
  program.launch("index_put");
  return true;
}

}  // namespace rigi_torch
