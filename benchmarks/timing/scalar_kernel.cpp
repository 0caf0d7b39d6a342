// A kernel that carries out a program as data, with the sequencer's scalar accesses as two opcodes more. For the timing tests.
#include "rigi_kernel.h"

namespace {

constexpr int kCores = 16;
constexpr int kScalarLoad = 200;  // hbm, cols (bytes)
constexpr int kScalarRead = 201;  // a.addr, cols (bytes)

// args: host address of the instructions, host address of the offsets (as in rigiLaunchProgram)
template <int PHASE>
void run(rigi_core* core, const rigi_word* args) {
  const auto* instrs = reinterpret_cast<const rigi_instr*>(args[0].i64);
  const auto* offsets = reinterpret_cast<const uint64_t*>(args[1].i64) + PHASE * kCores + core->id;
  for (uint64_t n = offsets[0]; n < offsets[1]; ++n) {
    const rigi_instr& i = instrs[n];
    if (i.op == kScalarLoad) {
      core->ops->scalar_load(core->state, i.hbm, i.cols);
    } else if (i.op == kScalarRead) {
      core->ops->scalar_read(core->state, i.a.addr, i.cols);
    } else {
      core->ops->issue(core->state, &i);
    }
  }
}

constexpr rigi_phase kPhases[] = {run<0>, run<1>, run<2>, run<3>, run<4>};
constexpr rigi_kernel_desc kKernels[] = {
    {"interpret1", 2, 0, 1, kPhases}, {"interpret2", 2, 0, 2, kPhases}, {"interpret3", 2, 0, 3, kPhases},
    {"interpret4", 2, 0, 4, kPhases}, {"interpret5", 2, 0, 5, kPhases},
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const rigi_module_desc rigi_module = {RIGI_ABI_VERSION, 5, kKernels};
