#include "program.hpp"

namespace rigi_torch {

std::optional<rigi_dtype> chip_dtype(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Float:
      return RIGI_F32;
    case c10::ScalarType::Half:
      return RIGI_F16;
    case c10::ScalarType::BFloat16:
      return RIGI_BF16;
    case c10::ScalarType::Int:
      return RIGI_I32;
    case c10::ScalarType::Char:
      return RIGI_I8;
    case c10::ScalarType::Byte:
    case c10::ScalarType::Bool:
      return RIGI_U8;
    default:
      return std::nullopt;
  }
}

Program::Program(c10::DeviceIndex device) : device_(device) {
  rigiDeviceProperties properties{};
  check(rigiGetDeviceProperties(device, &properties), "rigiGetDeviceProperties");
  cores_.resize(properties.cores);
}

void Program::load(uint32_t sram, int64_t pitch, const char* hbm, int64_t stride, int64_t rows, int64_t bytes) {
  dma(RIGI_LOAD, hbm, stride, rows, bytes).dst = operand(sram, pitch, RIGI_U8);
}

void Program::store(uint32_t sram, int64_t pitch, const char* hbm, int64_t stride, int64_t rows, int64_t bytes) {
  dma(RIGI_STORE, hbm, stride, rows, bytes).a = operand(sram, pitch, RIGI_U8);
}

void Program::gather(uint32_t sram, const char* hbm, uint32_t index, int64_t rows, int64_t bytes) {
  rigi_instr& instr = dma(RIGI_GATHER, hbm, bytes, rows, bytes);
  instr.dst = operand(sram, bytes, RIGI_U8);
  instr.a = operand(index, 4, RIGI_I32);
}

void Program::scatter(uint32_t sram, const char* hbm, int64_t stride, uint32_t index, int64_t rows, int64_t bytes) {
  rigi_instr& instr = dma(RIGI_SCATTER, hbm, stride, rows, bytes);
  instr.a = operand(sram, bytes, RIGI_U8);
  instr.b = operand(index, 4, RIGI_I32);
}

void Program::fill(rigi_operand dst, float value, int64_t rows, int64_t cols) {
  rigi_instr& instr = add(RIGI_FILL, rows, cols);
  instr.dst = dst;
  instr.scale = value;
}

rigi_instr& Program::vector(rigi_op op, rigi_operand dst, rigi_operand a, int64_t rows, int64_t cols) {
  rigi_instr& instr = add(op, rows, cols);
  instr.dst = dst;
  instr.a = a;
  return instr;
}

rigi_operand Program::operand(uint32_t address, int64_t pitch, rigi_dtype dtype) {
  return {address, static_cast<int32_t>(pitch), static_cast<uint8_t>(dtype), RIGI_FULL, 0, 0.0F};
}

rigi_operand Program::number(float value) { return {0, 0, RIGI_I32, RIGI_IMM, 0, value}; }

void Program::launch(const char* name) const {
  std::vector<rigi_instr> all;
  std::vector<uint64_t> offsets{0};
  for (const auto& core : cores_) {
    all.insert(all.end(), core.begin(), core.end());
    offsets.push_back(all.size());
  }
  check(rigiLaunchProgram(current_stream(device_), name, all.data(), offsets.data(), 1), "rigiLaunchProgram");
}

rigi_instr& Program::add(rigi_op op, int64_t rows, int64_t cols) {
  rigi_instr& instr = cores_[core_].emplace_back();
  instr.op = static_cast<uint8_t>(op);
  instr.rows = static_cast<uint32_t>(rows);
  instr.cols = static_cast<uint32_t>(cols);
  return instr;
}

rigi_instr& Program::dma(rigi_op op, const char* hbm, int64_t stride, int64_t rows, int64_t bytes) {
  rigi_instr& instr = add(op, rows, bytes);
  instr.hbm = reinterpret_cast<uint64_t>(hbm);
  instr.hbm_stride = stride;
  return instr;
}

}  // namespace rigi_torch
