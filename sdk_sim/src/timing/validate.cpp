// Refuses instructions the hardware could not carry out. Every message names the operand, its value and the limit.
#include <string>
#include <string_view>

#include "access.hpp"

namespace rigi {
namespace {

std::string hex(uint64_t v) {
  static constexpr const char* digits = "0123456789abcdef";
  std::string s;
  do {
    s.insert(s.begin(), digits[v & 15]);
    v >>= 4;
  } while (v != 0);
  return "0x" + s;
}

[[noreturn]] void fault(const std::string& text) { throw Fault(text); }

// What a finding calls the operand that messages call `name`.
const char* operand_of(const char* name) {
  constexpr std::string_view kC = "c (dst)";
  return name == kC || *name == 'd' ? "dst" : *name == 'a' ? "a" : *name == 'b' ? "b" : "c";
}
[[noreturn]] void fault(const char* kind, const char* name, const std::string& text) {
  throw Fault(std::string("operand ") + name + text, kind, operand_of(name));
}

class Checker {
 public:
  Checker(const rigi_instr& i, const Chip& chip, HbmRange hbm) : i_(i), chip_(chip), hbm_(hbm) {}

  void size(const char* name, uint32_t n) const {
    if (n == 0 || n > (1U << 26))
      fault(std::string(name) + " is " + (n == 0xffffffffU ? "negative or over 32 bits" : std::to_string(n)) + "; allowed: 1 to " +
            std::to_string(1U << 26));
  }
  void dtype(const char* name, const rigi_operand& o, uint32_t allowed) const {
    if (o.bcast == RIGI_IMM) return;
    if (o.dtype >= RIGI_DTYPE_COUNT || ((allowed >> o.dtype) & 1U) == 0) {
      std::string list;
      for (uint8_t d = 0; d < RIGI_DTYPE_COUNT; ++d) {
        if (((allowed >> d) & 1U) != 0) list += std::string(list.empty() ? "" : ", ") + dtype_name(d);
      }
      fault(
          "invalid", name,
          std::string(" has dtype ") + (o.dtype < RIGI_DTYPE_COUNT ? dtype_name(o.dtype) : std::to_string(o.dtype)) + "; allowed: " + list);
    }
  }
  void no_bcast(const char* name, const rigi_operand& o) const {
    if (o.bcast != RIGI_FULL) fault("invalid", name, " must not be broadcast here");
  }
  // An SRAM block of `rows` x `row_bytes`; a written block may not overlap itself.
  void block(const char* name, const rigi_operand& o, uint64_t rows, uint64_t row_bytes, uint32_t element, bool written) const {
    if (o.bcast > RIGI_IMM) fault("invalid", name, " has broadcast form " + std::to_string(o.bcast) + "; allowed: 0 to 3");
    if (written && o.bcast != RIGI_FULL) fault("invalid", name, " is written and must not be broadcast");
    if (o.bcast == RIGI_IMM) return;
    if (o.bcast == RIGI_ROW) rows = 1;
    if (o.bcast == RIGI_COL) row_bytes = element;
    if (o.addr % chip_.line_bytes != 0) {
      fault("misaligned", name,
            " starts at SRAM byte " + hex(o.addr) + ", which is not " + std::to_string(chip_.line_bytes) + "-byte aligned");
    }
    if (rows > 1) {
      if (o.stride < 0 || (written && static_cast<uint64_t>(o.stride) < row_bytes)) {
        fault("invalid", name,
              " has a row stride of " + std::to_string(o.stride) + " bytes for rows of " + std::to_string(row_bytes) + " bytes");
      }
      if (o.stride % static_cast<int32_t>(element) != 0) {
        fault("misaligned", name,
              " has a row stride of " + std::to_string(o.stride) + " bytes, which is not a multiple of its element size " +
                  std::to_string(element));
      }
    }
    const uint64_t end = o.addr + (rows - 1) * static_cast<uint64_t>(rows > 1 ? o.stride : 0) + row_bytes;
    if (end > chip_.sram_bytes) {
      fault("out_of_bounds", name,
            " covers SRAM bytes " + hex(o.addr) + " to " + hex(end) + ", past the end of the scratchpad (" + hex(chip_.sram_bytes) + ")");
    }
  }
  void elements(const char* name, const rigi_operand& o, uint64_t rows, uint64_t cols, bool written = false) const {
    const uint64_t bytes = o.dtype == RIGI_I4 ? (cols + 1) / 2 : cols * dtype_bytes(o.dtype);
    block(name, o, rows, bytes, dtype_bytes(o.dtype), written);
  }
  void index_list(const char* name, const rigi_operand& o, uint64_t rows) const {
    dtype(name, o, 1U << RIGI_I32);
    no_bcast(name, o);
    block(name, o, 1, rows * 4, 4, false);
  }
  void in_hbm(uint64_t rows, uint64_t row_bytes) const {
    const __int128 first = i_.hbm;
    const __int128 last = first + static_cast<__int128>(rows - 1) * i_.hbm_stride;
    const __int128 lo = first < last ? first : last;
    const __int128 hi = (first < last ? last : first) + row_bytes;
    if (lo < hbm_.base || hi > static_cast<__int128>(hbm_.base) + hbm_.bytes) {
      throw Fault("HBM block at " + hex(i_.hbm) + " (" + std::to_string(rows) + " rows of " + std::to_string(row_bytes) + " bytes, " +
                      std::to_string(i_.hbm_stride) + " apart) is not inside the device's HBM [" + hex(hbm_.base) + ", " +
                      hex(hbm_.base + hbm_.bytes) + ")",
                  "out_of_bounds", "hbm");
    }
  }

 private:
  const rigi_instr& i_;
  const Chip& chip_;
  HbmRange hbm_;
};

constexpr uint32_t bit(uint32_t d) { return 1U << d; }
constexpr uint32_t kFloat = bit(RIGI_F32) | bit(RIGI_F16) | bit(RIGI_BF16) | bit(RIGI_E4M3) | bit(RIGI_E5M2);
constexpr uint32_t kVector = kFloat | bit(RIGI_I8) | bit(RIGI_I32) | bit(RIGI_U8);
constexpr uint32_t kFp8 = bit(RIGI_E4M3) | bit(RIGI_E5M2);

void check_function(const rigi_instr& i, int count) {
  if (i.fn >= count) fault("function code " + std::to_string(i.fn) + "; allowed: 0 to " + std::to_string(count - 1));
}

void check_dma(const rigi_instr& i, int core, const Chip& chip, const Checker& check) {
  switch (i.op) {
    case RIGI_FILL:
      check.dtype("dst", i.dst, kVector);
      check.elements("dst", i.dst, i.rows, i.cols, true);
      return;
    case RIGI_LOAD_MULTICAST:
      check_function(i, 3);
      [[fallthrough]];
    case RIGI_LOAD:
      check.block("dst", i.dst, i.rows, i.cols, 1, true);
      check.in_hbm(i.rows, i.cols);
      return;
    case RIGI_GATHER:
      check.index_list("a (index list)", i.a, i.rows);
      check.block("dst", i.dst, i.rows, i.cols, 1, true);
      check.in_hbm(1, i.cols);
      return;
    case RIGI_SEND:
      if (i.target >= chip.cores())
        fault("send to core " + std::to_string(i.target) + "; the chip has cores 0 to " + std::to_string(chip.cores() - 1));
      if (i.target == core) fault("send to the sending core itself (" + std::to_string(core) + "); use copy");
      check.block("a", i.a, i.rows, i.cols, 1, false);
      check.no_bcast("a", i.a);
      check.block("dst", i.dst, i.rows, i.cols, 1, true);
      return;
    case RIGI_SCATTER:
      check.index_list("b (index list)", i.b, i.rows);
      check.block("a", i.a, i.rows, i.cols, 1, false);
      check.no_bcast("a", i.a);
      check.in_hbm(1, i.cols);
      return;
    case RIGI_STORE_ADD:
      check.no_bcast("a", i.a);
      check.dtype("a", i.a, bit(RIGI_F32) | bit(RIGI_BF16));
      if (i.cols % dtype_bytes(i.a.dtype) != 0)
        fault("store_add of " + std::to_string(i.cols) + " bytes a row, not a whole number of " + dtype_name(i.a.dtype));
      [[fallthrough]];
    default:
      check.block("a", i.a, i.rows, i.cols, 1, false);
      check.no_bcast("a", i.a);
      check.in_hbm(i.rows, i.cols);
      if (i.rows > 1 && (i.hbm_stride < 0 ? -i.hbm_stride : i.hbm_stride) < static_cast<int64_t>(i.cols)) {
        fault("rows of " + std::to_string(i.cols) + " bytes stored " + std::to_string(i.hbm_stride) +
              " bytes apart overlap each other in HBM");
      }
  }
}

void check_mma(const rigi_instr& i, const Checker& check) {
  check.size("K", i.depth);
  const uint32_t pair = i.a.dtype == RIGI_BF16  ? bit(RIGI_BF16)
                        : i.a.dtype == RIGI_F16 ? bit(RIGI_F16)
                        : i.a.dtype == RIGI_I8  ? bit(RIGI_I8)
                                                : kFp8;
  check.dtype("a", i.a, bit(RIGI_BF16) | bit(RIGI_F16) | kFp8 | bit(RIGI_I8));
  check.dtype("b", i.b, pair);
  check.dtype("c (dst)", i.dst, i.a.dtype == RIGI_I8 ? bit(RIGI_I32) : bit(RIGI_F32));
  check.no_bcast("a", i.a);
  check.no_bcast("b", i.b);
  check.elements("a", i.a, i.rows, i.depth);
  if ((i.flags & RIGI_TRANS_B) != 0) {
    check.elements("b", i.b, i.cols, i.depth);
  } else {
    check.elements("b", i.b, i.depth, i.cols);
  }
  check.elements("c (dst)", i.dst, i.rows, i.cols, true);
}

void check_vector(const rigi_instr& i, const Checker& check) {
  const uint32_t sources = i.op == RIGI_CAST ? kVector | bit(RIGI_I4) : kVector;
  if (i.op != RIGI_IOTA) check.dtype("a", i.a, sources);
  check.dtype("dst", i.dst, kVector);
  const auto same = [&](const rigi_operand& o) {
    if (o.bcast == RIGI_IMM || o.dtype != i.dst.dtype)
      fault(std::string("dst is ") + dtype_name(i.dst.dtype) +
            " but a is another dtype or a constant; this instruction moves raw bits, use cast");
  };
  switch (i.op) {
    case RIGI_BINARY:
      check_function(i, 6);
      break;
    case RIGI_COMPARE:
      check_function(i, 6);
      break;
    case RIGI_REDUCE:
      check_function(i, 2);
      check.no_bcast("a", i.a);
      check.elements("a", i.a, i.rows, i.cols);
      check.elements("dst", i.dst, i.rows, 1, true);
      return;
    case RIGI_TRANSPOSE:
      same(i.a);
      check.no_bcast("a", i.a);
      check.elements("a", i.a, i.rows, i.cols);
      check.elements("dst", i.dst, i.cols, i.rows, true);
      return;
    case RIGI_IOTA:
      check.elements("dst", i.dst, i.rows, i.cols, true);
      return;
    case RIGI_TAKE:
      same(i.a);
      check.size("depth", i.depth);
      check.dtype("b (indices)", i.b, bit(RIGI_I32));
      check.elements("a", i.a, i.rows, i.depth);
      check.elements("b (indices)", i.b, i.rows, i.cols);
      check.elements("dst", i.dst, i.rows, i.cols, true);
      return;
    case RIGI_TOPK:
      same(i.a);
      check.size("k", i.depth);
      if (i.depth > i.cols) fault("k is " + std::to_string(i.depth) + " but a row has only " + std::to_string(i.cols) + " elements");
      check.no_bcast("a", i.a);
      check.dtype("c (indices)", i.c, bit(RIGI_I32));
      check.elements("a", i.a, i.rows, i.cols);
      check.elements("dst", i.dst, i.rows, i.depth, true);
      check.elements("c (indices)", i.c, i.rows, i.depth, true);
      return;
    case RIGI_COPY:
      same(i.a);
      break;
    default:
      break;
  }
  check.elements("a", i.a, i.rows, i.cols);
  if (i.op == RIGI_BINARY || i.op == RIGI_COMPARE || i.op == RIGI_SELECT) {
    check.dtype("b", i.b, kVector);
    check.elements("b", i.b, i.rows, i.cols);
  }
  if (i.op == RIGI_SELECT) {
    check.dtype("c (condition)", i.c, kVector);
    check.elements("c (condition)", i.c, i.rows, i.cols);
  }
  check.elements("dst", i.dst, i.rows, i.cols, true);
}

void check_act(const rigi_instr& i, const Checker& check) {
  check_function(i, RIGI_ACT_COUNT);
  check.dtype("a", i.a, kVector);
  if (i.a.bcast == RIGI_IMM) fault("operand a of an activation must lie in SRAM");
  check.dtype("dst", i.dst, kFloat);
  check.elements("a", i.a, i.rows, i.cols);
  check.elements("dst", i.dst, i.rows, i.cols, true);
  if ((i.flags & RIGI_ROW_BIAS) != 0) {
    check.dtype("b (row bias)", i.b, bit(RIGI_F32));
    if (i.b.bcast == RIGI_IMM) fault("operand b (row bias) must lie in SRAM");
    check.elements("b (row bias)", i.b, i.rows, 1);
  }
  if ((i.flags & RIGI_ROW_SUMS) != 0) {
    check.dtype("c (row sums)", i.c, bit(RIGI_F32));
    check.elements("c (row sums)", i.c, i.rows, 1, true);
  }
}

}  // namespace

void validate(const rigi_instr& i, int core, const Chip& chip, HbmRange hbm) {
  if (i.op >= RIGI_OP_COUNT) fault("operation code " + std::to_string(i.op) + "; allowed: 0 to " + std::to_string(RIGI_OP_COUNT - 1));
  const Checker check(i, chip, hbm);
  check.size("rows", i.rows);
  check.size("columns (or bytes a row)", i.cols);
  switch (engine_of(i.op)) {
    case Engine::Load:
    case Engine::Store:
      return check_dma(i, core, chip, check);
    case Engine::Matrix:
      return check_mma(i, check);
    case Engine::Vector:
      return check_vector(i, check);
    default:
      return check_act(i, check);
  }
}

}  // namespace rigi
