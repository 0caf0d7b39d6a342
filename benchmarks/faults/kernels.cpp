// Kernels that do wrong things which no program as data can do: they read scalars, and they throw.
#include <stdexcept>

#include "rigi_kernel.h"

namespace {

using rigi::Core;
using rigi::hbm;
using rigi::sram;

// scale(x): x *= 1 on core 0, for launches with wrong arguments.
void scale(rigi_core* c, const rigi_word* args) {
  Core core(c);
  if (core.id() != 0) return;
  core.load(sram(0, 64, RIGI_F32), hbm(args[0].ptr, 64), 1, 64);
  core.store(hbm(args[0].ptr, 64), sram(0, 64, RIGI_F32), 1, 64);
}

// faulty(which, address): core 5 does the wrong thing in phase 1, as its fourth instruction after two fills and a barrier.
void quiet(rigi_core* c, const rigi_word*) { Core(c).fill(sram(0, 64, RIGI_F32), 0, 1, 16); }
void faulty(rigi_core* c, const rigi_word* args) {
  Core core(c);
  core.fill(sram(0, 64, RIGI_F32), 0, 1, 16);
  if (core.id() != 5) return;
  core.at(77);
  const auto address = args[1].i64;
  switch (args[0].i64) {
    case 0:
      core.scalar_load<int32_t>(static_cast<uint64_t>(address));
      break;
    case 1:
      core.scalar_read<int32_t>(address);
      break;
    case 2:
      c->ops->scalar_read(c->state, 0, 3);  // no scalar has three bytes
      break;
    case 3:
      core.fill(sram(0, 64, RIGI_F32), 0, address, 16);
      break;
    case 4:
      throw std::runtime_error("the kernel itself gave up");
    default:
      throw 7;  // NOLINT(bugprone-std-exception-baseclass): kernels may do that
  }
}

constexpr rigi_phase kScale[] = {scale}, kFaulty[] = {quiet, faulty};
constexpr rigi_kernel_desc kKernels[] = {{"scale", 1, 64, 1, kScale}, {"faulty", 2, 64, 2, kFaulty}};

}  // namespace

extern "C" __attribute__((visibility("default"))) const rigi_module_desc rigi_module = {RIGI_ABI_VERSION, 2, kKernels};
