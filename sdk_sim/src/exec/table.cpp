// Which build of the kernels this host uses.
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "kernels.hpp"

#define RIGI_DECLARE(isa)                                                                                        \
  namespace rigi::isa {                                                                                          \
  void mma(const rigi_instr&, const uint8_t*, const uint8_t*, int64_t, uint8_t*);                                \
  void elementwise(const rigi_instr&, uint8_t*);                                                                 \
  void reduce(const rigi_instr&, uint8_t*);                                                                      \
  void topk(const rigi_instr&, uint8_t*);                                                                        \
  void iota(const rigi_instr&, uint8_t*);                                                                        \
  void transpose(const rigi_instr&, uint8_t*);                                                                   \
  void fill(const rigi_instr&, uint8_t*);                                                                        \
  void act(const rigi_instr&, uint8_t*);                                                                         \
  void add(uint8_t*, const uint8_t*, int64_t, rigi_dtype);                                                       \
  static constexpr KernelTable kTable = {#isa, mma, elementwise, reduce, topk, iota, transpose, fill, act, add}; \
  }

RIGI_DECLARE(portable)
#if defined(RIGI_HAVE_X86_KERNELS)
RIGI_DECLARE(avx2)
RIGI_DECLARE(avx512)
#endif

namespace rigi {
namespace {

const KernelTable& choose() {
  const char* forced = std::getenv("RIGI_ISA");
  const std::string wanted = forced == nullptr ? "" : forced;
  if (!wanted.empty() && wanted != "avx512" && wanted != "avx2" && wanted != "portable") {
    throw std::runtime_error("RIGI_ISA is '" + wanted + "'; it may be avx512, avx2, portable, or unset for the best this host has");
  }
#if defined(RIGI_HAVE_X86_KERNELS)
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (has_avx512 && (wanted.empty() || wanted == "avx512")) return avx512::kTable;
  if (has_avx2 && (wanted.empty() || wanted == "avx2")) return avx2::kTable;
#endif
  if (!wanted.empty() && wanted != "portable") {
    throw std::runtime_error("RIGI_ISA=" + wanted + ", but this host cannot run it; unset RIGI_ISA or set it to portable");
  }
  return portable::kTable;
}

}  // namespace

const KernelTable& kernels() {
  static const KernelTable& table = choose();
  return table;
}

}  // namespace rigi
