#include "exec.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>

#include "kernels.hpp"
#include "move.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace rigi {
namespace {

/// Default floating-point control while instructions run: nearest even, denormals kept. Some libraries (anything linked with
/// -ffast-math) switch denormals off for the thread that loads them and for all threads started from it.
class DefaultRounding {
 public:
#if defined(__x86_64__)
  DefaultRounding() : saved_(_mm_getcsr()) {
    if ((saved_ & kControl) != kDefault) _mm_setcsr(kDefault);
  }
  ~DefaultRounding() {
    if ((saved_ & kControl) != kDefault) _mm_setcsr(saved_);
  }

 private:
  static constexpr unsigned kControl = 0xffc0, kDefault = 0x1f80;
  unsigned saved_;
#elif defined(__aarch64__)
  DefaultRounding() {
    asm volatile("mrs %0, fpcr" : "=r"(saved_));
    if (saved_ != 0) asm volatile("msr fpcr, %0" : : "r"(uint64_t{0}));
  }
  ~DefaultRounding() {
    if (saved_ != 0) asm volatile("msr fpcr, %0" : : "r"(saved_));
  }

 private:
  uint64_t saved_;
#else
  DefaultRounding() {}
#endif
};

}  // namespace

void execute(const rigi_instr& i, CoreState& core) {
  const DefaultRounding rounding;
  switch (i.op) {
    case RIGI_LOAD:
    case RIGI_GATHER:
    case RIGI_LOAD_MULTICAST:
      return move_in(i, core);
    case RIGI_FILL:
      return kernels().fill(i, core.sram);
    case RIGI_STORE:
    case RIGI_SCATTER:
    case RIGI_STORE_ADD:
    case RIGI_SEND:
      return move_out(i, core);
    case RIGI_MMA:
      return kernels().mma(i, core.sram + i.a.addr, core.sram + i.b.addr, i.b.stride, core.sram + i.dst.addr);
    case RIGI_BINARY:
    case RIGI_COMPARE:
    case RIGI_SELECT:
    case RIGI_CAST:
      return kernels().elementwise(i, core.sram);
    case RIGI_COPY:
    case RIGI_TAKE:
      return move_inside(i, core.sram);
    case RIGI_REDUCE:
      return kernels().reduce(i, core.sram);
    case RIGI_TRANSPOSE:
      return kernels().transpose(i, core.sram);
    case RIGI_IOTA:
      return kernels().iota(i, core.sram);
    case RIGI_TOPK:
      return kernels().topk(i, core.sram);
    case RIGI_ACT:
      return kernels().act(i, core.sram);
    default:
      throw Fault("there is no instruction with opcode " + std::to_string(i.op) + "; the last one is " + std::to_string(RIGI_OP_COUNT - 1));
  }
}

void execute_mma(const rigi_instr& i, CoreState& core, const uint8_t* a, const uint8_t* b, int64_t b_stride) {
  const DefaultRounding rounding;
  kernels().mma(i, a, b, b_stride, core.sram + i.dst.addr);
}

void apply_adds(CoreState* cores, int n) {
  const DefaultRounding rounding;
  for (int c = 0; c < n; ++c) {
    for (const PendingAdd& add : cores[c].adds) {
      const int64_t elements = add.bytes / (add.dtype == RIGI_BF16 ? 2 : 4);  // there are no others
      for (int64_t r = 0; r < add.rows; ++r) {
        uint8_t* hbm = reinterpret_cast<uint8_t*>(add.hbm + static_cast<uint64_t>(r * add.hbm_stride));
        kernels().add(hbm, add.data.data() + r * add.bytes, elements, add.dtype);
      }
    }
    cores[c].adds.clear();
  }
}

const char* exec_isa() { return kernels().name; }

void* scratch(Scratch slot, size_t bytes) {
  struct Block {
    size_t bytes = 0;
    void* data = nullptr;
    ~Block() { std::free(data); }
  };
  thread_local Block blocks[static_cast<size_t>(Scratch::kCount)];
  Block& block = blocks[static_cast<size_t>(slot)];
  if (block.bytes < bytes) {
    const size_t size = (bytes + 4095) / 4096 * 4096;
    std::free(block.data);
    block = {};
    block.data = std::aligned_alloc(64, size);
    if (block.data == nullptr) throw std::bad_alloc();
    block.bytes = size;
  }
  return block.data;
}

void sort_topk(const int32_t* keys, int64_t n, int64_t k, int32_t* index) {
  std::vector<int32_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  const auto before = [keys](int32_t x, int32_t y) { return keys[x] != keys[y] ? keys[x] > keys[y] : x < y; };
  std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
  std::copy_n(order.begin(), k, index);
}

}  // namespace rigi
