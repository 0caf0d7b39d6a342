// Random programs: instructions that are valid as a rule, with something overwritten now and then.
#include <algorithm>

#include "world.hpp"

namespace fuzz {
namespace {

constexpr uint32_t kCores = 16;
constexpr uint64_t kWindow = uint64_t{256} << 20;  // wild addresses stay here: each page that is touched costs host memory
constexpr uint64_t kWork = uint64_t{1} << 22;      // rows x columns x depth of one instruction

rigi_operand operand(Input& in, uint8_t dtype) {
  rigi_operand o = {};
  o.addr = in.below(512) * 4096;
  o.stride = 256;
  o.dtype = dtype;
  if (in.once_in(24)) o.bcast = static_cast<uint8_t>(1 + in.below(3));
  o.imm = static_cast<float>(in.below(7)) - 3;
  return o;
}

rigi_instr instruction(Input& in) {
  constexpr uint8_t kTypes[] = {RIGI_F32, RIGI_BF16, RIGI_F16, RIGI_I32, RIGI_I8, RIGI_E4M3, RIGI_U8, RIGI_E5M2};
  rigi_instr i = {};
  i.op = static_cast<uint8_t>(in.below(RIGI_OP_COUNT));
  i.fn = static_cast<uint8_t>(in.below(3));
  i.flags = in.once_in(4) ? in.take<uint8_t>() & 15 : 0;
  i.target = static_cast<uint8_t>(in.below(kCores));
  i.rows = 1 + in.below(8);
  i.cols = 4 * (1 + in.below(15));
  i.depth = 1 + in.below(4);
  const uint8_t dtype = kTypes[in.below(8)];
  i.dst = operand(in, dtype);
  i.a = operand(in, dtype);
  i.b = operand(in, dtype);
  i.c = operand(in, RIGI_F32);
  i.dst.bcast = RIGI_FULL;
  if (i.op == RIGI_MMA) {
    i.depth = 32;
    i.cols = std::min(i.cols, 60U);
    i.a.dtype = i.b.dtype = RIGI_BF16;
    i.dst.dtype = RIGI_F32;
    i.a.bcast = i.b.bcast = RIGI_FULL;
  }
  if (i.op == RIGI_GATHER) i.a.dtype = RIGI_I32;
  if (i.op == RIGI_SCATTER || i.op == RIGI_TAKE) i.b.dtype = RIGI_I32;
  if (i.op == RIGI_TOPK) i.c.dtype = RIGI_I32;
  i.scale = 1;
  i.hbm = address(in);
  i.hbm_stride = 256;
  if (in.once_in(64)) {  // anything at all, anywhere in the record
    const uint64_t bits = in.take<uint64_t>();
    const size_t bytes = size_t{1} << in.below(4);
    std::memcpy(reinterpret_cast<uint8_t*>(&i) + in.below(sizeof(i) - 8), &bits, bytes);
    if (uint64_t{i.rows} * i.cols > kWork || uint64_t{i.rows} * i.cols * i.depth > kWork << 8) i.rows = 0;  // valid, but takes ages
    const uint64_t reach = world().base[0];
    if (i.hbm >= reach + kWindow && i.hbm < reach + (uint64_t{64} << 30)) i.hbm = reach;
    if (i.hbm_stride > 1 << 20 && i.rows > 1) i.rows = 2;
  }
  return i;
}

}  // namespace

uint64_t address(Input& in) {
  const auto pointer = reinterpret_cast<uint64_t>(world().memory.pick(in));
  if (in.once_in(16)) return world().base[in.below(kDevices)] + in.take<uint64_t>() % kWindow;
  return in.once_in(8) ? pointer + in.take<uint8_t>() - 64 : pointer;
}

void launch_program(Input& in, rigiStream_t stream) {
  const uint32_t phases = 1 + in.below(2);
  const uint32_t busy = 1 + in.below(3);  // every busy-th core has work
  std::vector<rigi_instr> instrs;
  std::vector<uint64_t> offsets(1);
  for (uint32_t p = 0; p < phases; ++p) {
    for (uint32_t c = 0; c < kCores; ++c) {
      if (c % (busy * busy) == 0) {
        for (uint32_t n = in.below(4); n != 0; --n) instrs.push_back(instruction(in));
      }
      offsets.push_back(instrs.size());
    }
  }
  if (in.once_in(64)) offsets[in.below(static_cast<uint32_t>(offsets.size()) - 1)] = 1U << 20;  // they would have to decrease afterwards
  CALL(rigiLaunchProgram, stream, in.once_in(64) ? "\"" : "fuzzed", instrs.data(), offsets.data(), phases);
}

}  // namespace fuzz
