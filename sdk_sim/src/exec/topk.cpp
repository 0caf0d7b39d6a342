// Vector engine: the k largest elements of each row, descending; ties go to the lower index and NaN counts as the largest.
//
// Elements are compared as int32 keys of the same order (-0 equals +0). k = 1 keeps a maximum a lane; a small k inserts the
// few elements that beat the k-th best so far; a large k sorts.
#include "rows.hpp"
#include "tables.hpp"

namespace rigi::RIGI_ISA_NS {
namespace {

constexpr int64_t kInsertLimit = 128;

RIGI_INLINE I key_of(F x) {
  const I raw = as_i(x + splat(0.0F));
  const I ordered = raw ^ (sra<31>(raw) & isplat(INT32_MAX));
  return select(is_nan(x), isplat(INT32_MAX), ordered);
}
RIGI_INLINE I key_of(I x) { return x; }

/// Calls use(column, keys) for every vector of a row; lanes past the end hold INT32_MIN.
template <class T, class Fn>
RIGI_INLINE void each_key(Source<T>& a, int64_t r, int64_t cols, Fn use) {
  alignas(64) int32_t last[kLanes];
  for (int64_t col = 0; col < cols;) {
    const int n = chunk_at(col, cols);
    int step;
    const T* p = a.fetch(r, col, n, &step);
    if (n % kLanes == 0) {
      for (int j = 0; j < n; j += kLanes) use(col + j, key_of(load(p + j * step)));
    } else {
      store_i(last, key_of(load(p)));
      for (int j = n; j < kLanes; ++j) last[j] = INT32_MIN;
      use(col, load_i(last));
    }
    col += n;
  }
}

template <class T>
void largest(Source<T>& a, int64_t r, int64_t cols, int32_t* index) {
  I best = isplat(INT32_MIN), where = isplat(INT32_MAX), here = isplat(0);
  alignas(64) int32_t keys[kLanes], columns[kLanes];
  for (int k = 0; k < kLanes; ++k) columns[k] = k;
  const I ramp = load_i(columns);
  each_key(a, r, cols, [&](int64_t col, I key) RIGI_LAMBDA {
    here = ramp + isplat(static_cast<int32_t>(col));
    const M better = gt(key, best);
    best = max(key, best);
    where = select(better, here, where);
  });
  store_i(keys, best);
  store_i(columns, where);
  int at = 0;
  for (int k = 1; k < kLanes; ++k) {
    if (keys[k] > keys[at] || (keys[k] == keys[at] && columns[k] < columns[at])) at = k;
  }
  *index = columns[at] == INT32_MAX ? 0 : columns[at];  // every element was the smallest integer
}

template <class T>
void insert(Source<T>& a, int64_t r, int64_t cols, int64_t k, int32_t* index) {
  int32_t keys[kInsertLimit];
  int64_t count = 0;
  each_key(a, r, cols, [&](int64_t col, I key) RIGI_LAMBDA {
    if (count == k && !any(gt(key, isplat(keys[k - 1])))) return;
    alignas(64) int32_t lane[kLanes];
    store_i(lane, key);
    const int n = static_cast<int>(cols - col < kLanes ? cols - col : kLanes);
    for (int j = 0; j < n; ++j) {
      if (count == k && lane[j] <= keys[k - 1]) continue;
      int64_t at = count == k ? k - 1 : count++;
      for (; at > 0 && keys[at - 1] < lane[j]; --at) {
        keys[at] = keys[at - 1];
        index[at] = index[at - 1];
      }
      keys[at] = lane[j];
      index[at] = static_cast<int32_t>(col + j);
    }
  });
}

template <class T>
void run(const rigi_instr& i, uint8_t* sram) {
  const int64_t cols = i.cols, bytes = element_bytes(i.a.dtype);
  const int64_t k = i.depth < cols ? i.depth : cols;
  if (k == 0) return;
  const size_t words = static_cast<size_t>(k) * 2 + (k > kInsertLimit ? static_cast<size_t>(cols) + kLanes : 0);
  int32_t* index = static_cast<int32_t*>(scratch(Scratch::kKeys, words * 4));
  uint8_t* picked = reinterpret_cast<uint8_t*>(index + k);
  int32_t* keys = index + 2 * k;
  Source<T> a(i.a, sram);
  for (int64_t r = 0; r < i.rows; ++r) {
    if (k == 1) {
      largest(a, r, cols, index);
    } else if (k <= kInsertLimit) {
      insert(a, r, cols, k, index);
    } else {
      each_key(a, r, cols, [&](int64_t col, I key) RIGI_LAMBDA { store_i(keys + col, key); });
      sort_topk(keys, cols, k, index);
    }
    const uint8_t* row = sram + i.a.addr + (i.a.bcast == RIGI_ROW ? 0 : r * i.a.stride);
    for (int64_t j = 0; j < k; ++j) __builtin_memcpy(picked + j * bytes, row + index[j] * bytes, static_cast<size_t>(bytes));
    __builtin_memcpy(sram + i.dst.addr + r * i.dst.stride, picked, static_cast<size_t>(k * bytes));
    __builtin_memcpy(sram + i.c.addr + r * i.c.stride, index, static_cast<size_t>(k) * 4);
  }
}

}  // namespace

void topk(const rigi_instr& i, uint8_t* sram) { is_int(i.a.dtype) ? run<int32_t>(i, sram) : run<float>(i, sram); }

}  // namespace rigi::RIGI_ISA_NS
