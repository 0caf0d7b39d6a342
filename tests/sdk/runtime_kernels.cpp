// Kernels for the tests of the runtime, written by hand against rigi_kernel.h.
#include <stdexcept>

#include "rigi_kernel.h"

namespace {

using rigi::Core;
using rigi::hbm;
using rigi::imm;
using rigi::sram;

constexpr int64_t kRow = 1024;  // bytes: 256 fp32

// add(x, y, value): y = x + value for 16 rows of 256 fp32, one row a core.
void add(rigi_core* c, const rigi_word* args) {
  Core core(c);
  const uint64_t offset = static_cast<uint64_t>(core.id()) * kRow;
  core.load(sram(0, kRow, RIGI_F32), hbm(args[0].ptr + offset, kRow), 1, kRow);
  core.binary(RIGI_ADD, sram(kRow, kRow, RIGI_F32), sram(0, kRow, RIGI_F32), imm(args[2].f64), 1, 256);
  core.store(hbm(args[1].ptr + offset, kRow), sram(kRow, kRow, RIGI_F32), 1, kRow);
}

// rotate(x, y): phase 1 sends row i to core i + 1, phase 2 stores it there. SRAM survives the barrier.
void rotate_send(rigi_core* c, const rigi_word* args) {
  Core core(c);
  core.load(sram(0, kRow, RIGI_F32), hbm(args[0].ptr + static_cast<uint64_t>(core.id()) * kRow, kRow), 1, kRow);
  core.send((core.id() + 1) % 16, sram(kRow, kRow, RIGI_F32), sram(0, kRow, RIGI_F32), 1, kRow);
}
void rotate_store(rigi_core* c, const rigi_word* args) {
  Core core(c);
  core.store(hbm(args[1].ptr + static_cast<uint64_t>(core.id()) * kRow, kRow), sram(kRow, kRow, RIGI_F32), 1, kRow);
}

// sum(x, total): every core adds its row to the same 256 fp32.
void sum(rigi_core* c, const rigi_word* args) {
  Core core(c);
  core.load(sram(0, kRow, RIGI_F32), hbm(args[0].ptr + static_cast<uint64_t>(core.id()) * kRow, kRow), 1, kRow);
  core.store_add(hbm(args[1].ptr, kRow), sram(0, kRow, RIGI_F32), 1, kRow);
}

// faulty(which): cores 5 and 9 fault in phase 1, in their third and second instruction.
void quiet(rigi_core* c, const rigi_word*) { Core(c).fill(sram(0, 64, RIGI_F32), 0, 1, 16); }
void faulty(rigi_core* c, const rigi_word* args) {
  Core core(c);
  core.fill(sram(0, 64, RIGI_F32), 0, 1, 16);
  if (core.id() == 5) core.fill(sram(64, 64, RIGI_F32), 0, 1, 16);
  if (core.id() != 5 && core.id() != 9) return;
  core.at(77);
  switch (args[0].i64) {
    case 0:
      core.fill(sram(1 << 22, 64, RIGI_F32), 0, 1, 16);
      break;
    case 1:
      core.load(sram(0, 64, RIGI_F32), hbm(4096, 64), 1, 64);
      break;
    case 2:
      core.scalar_load<int64_t>(8);
      break;
    case 3:
      core.scalar_read<int32_t>(1 << 30);
      break;
    default:
      throw std::runtime_error("the kernel itself gave up");
  }
}

// chase(list, out, n): follows n links through HBM with scalar_load and stores where it ends.
void chase(rigi_core* c, const rigi_word* args) {
  Core core(c);
  if (core.id() != 0) return;
  int64_t at = 0;
  for (int64_t i = 0; i < args[2].i64; ++i) at = core.scalar_load<int64_t>(args[0].ptr + static_cast<uint64_t>(at) * 8);
  core.fill(sram(0, 64, RIGI_I32), static_cast<double>(at), 1, 16);
  core.store(hbm(args[1].ptr, 64), sram(0, 64, RIGI_I32), 1, 64);
}

// peek(x, out, at): loads 32 KiB of x, reads the int32 at byte `at` of them as a scalar and stores it 16 times.
void peek(rigi_core* c, const rigi_word* args) {
  Core core(c);
  if (core.id() != 0) return;
  core.load(sram(0, kRow, RIGI_I32), hbm(args[0].ptr, kRow), 32, kRow);
  const auto value = core.scalar_read<int32_t>(args[2].i64);
  core.fill(sram(1 << 16, 64, RIGI_I32), value, 1, 16);
  core.store(hbm(args[1].ptr, 64), sram(1 << 16, 64, RIGI_I32), 1, 64);
}

// follow(table, out): copies the 64 bytes at the pointer that `table` holds.
void follow(rigi_core* c, const rigi_word* args) {
  Core core(c);
  if (core.id() != 0) return;
  core.load(sram(0, 64, RIGI_I32), hbm(core.scalar_load<uint64_t>(args[0].ptr), 64), 1, 64);
  core.store(hbm(args[1].ptr, 64), sram(0, 64, RIGI_I32), 1, 64);
}

constexpr rigi_phase kAdd[] = {add}, kRotate[] = {rotate_send, rotate_store}, kSum[] = {sum}, kFaulty[] = {quiet, faulty},
                     kChase[] = {chase}, kPeek[] = {peek}, kFollow[] = {follow};
constexpr rigi_kernel_desc kKernels[] = {
    {"add", 3, 2048, 1, kAdd},   {"rotate", 2, 2048, 2, kRotate}, {"sum", 2, 1024, 1, kSum},     {"faulty", 1, 128, 2, kFaulty},
    {"chase", 3, 64, 1, kChase}, {"peek", 3, 66000, 1, kPeek},    {"follow", 2, 64, 1, kFollow},
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const rigi_module_desc rigi_module = {RIGI_ABI_VERSION, 7, kKernels};
