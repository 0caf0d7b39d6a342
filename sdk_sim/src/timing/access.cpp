#include "access.hpp"

namespace rigi {

const char* engine_name(Engine engine) {
  constexpr const char* names[] = {"load", "store", "matrix", "vector", "act", "scalar", "barrier"};
  return names[static_cast<int>(engine)];
}

Engine engine_of(uint8_t op) {
  if (op <= RIGI_FILL) return Engine::Load;
  if (op <= RIGI_SEND) return Engine::Store;
  if (op == RIGI_MMA) return Engine::Matrix;
  return op == RIGI_ACT ? Engine::Act : Engine::Vector;
}

bool overlap(const Span& x, const Span& y) {
  if (x.addr >= y.end() || y.addr >= x.end()) return false;
  const bool x_solid = x.rows == 1 || x.stride <= x.row_bytes;
  const bool y_solid = y.rows == 1 || y.stride <= y.row_bytes;
  if (x_solid && y_solid) return true;
  const Span& few = x.rows <= y.rows ? x : y;
  const Span& many = x.rows <= y.rows ? y : x;
  // Row r of `few` is [lo, hi); row q of `many` meets it iff many.addr + q * stride lies in (lo - row_bytes, hi).
  for (uint32_t r = 0; r < few.rows; ++r) {
    const int64_t lo = static_cast<int64_t>(few.addr) + static_cast<int64_t>(r) * few.stride;
    if (lo >= many.end()) break;
    const int64_t hi = lo + few.row_bytes;
    const int64_t first = lo - many.row_bytes + 1 - many.addr;  // smallest offset of a row that reaches lo
    const int64_t last = hi - 1 - many.addr;                    // largest offset of a row that starts before hi
    if (last < 0) continue;
    const int64_t step = std::max<int64_t>(many.stride, 1);
    const int64_t q_min = first <= 0 ? 0 : (first + step - 1) / step;
    if (q_min * step <= last && q_min < many.rows) return true;
  }
  return false;
}

namespace {

Span span(const rigi_operand& o, uint32_t rows, uint32_t row_bytes) {
  if (o.bcast == RIGI_ROW) rows = 1;
  if (o.bcast == RIGI_COL) row_bytes = dtype_bytes(o.dtype);
  return {o.addr, row_bytes, rows, rows == 1 ? row_bytes : static_cast<uint32_t>(o.stride)};
}

// Bytes of `cols` elements; int4 holds two a byte.
uint32_t bytes_of(const rigi_operand& o, uint32_t cols) { return o.dtype == RIGI_I4 ? (cols + 1) / 2 : cols * dtype_bytes(o.dtype); }
Span elements(const rigi_operand& o, uint32_t rows, uint32_t cols) { return span(o, rows, bytes_of(o, cols)); }

}  // namespace

Access access_of(const rigi_instr& i) {
  Access s;
  const auto read = [&](const Span& x) { s.reads[s.num_reads++] = x; };
  const auto write = [&](const Span& x) { s.writes[s.num_writes++] = x; };
  const auto read_operand = [&](const rigi_operand& o, uint32_t cols) {
    if (o.bcast != RIGI_IMM) read(elements(o, i.rows, cols));
  };
  switch (i.op) {
    case RIGI_LOAD:
    case RIGI_LOAD_MULTICAST:
      write(span(i.dst, i.rows, i.cols));
      break;
    case RIGI_GATHER:
      read({i.a.addr, i.rows * 4, 1, i.rows * 4});
      write(span(i.dst, i.rows, i.cols));
      break;
    case RIGI_FILL:
      write(elements(i.dst, i.rows, i.cols));
      break;
    case RIGI_SCATTER:
      read({i.b.addr, i.rows * 4, 1, i.rows * 4});
      read(span(i.a, i.rows, i.cols));
      break;
    case RIGI_STORE:
    case RIGI_STORE_ADD:
    case RIGI_SEND:  // its write is in another core's SRAM: ordered by the barrier, not by this core's scoreboard
      read(span(i.a, i.rows, i.cols));
      break;
    case RIGI_MMA:
      read(elements(i.a, i.rows, i.depth));
      read((i.flags & RIGI_TRANS_B) != 0 ? elements(i.b, i.cols, i.depth) : elements(i.b, i.depth, i.cols));
      if ((i.flags & RIGI_ACCUMULATE) != 0) read(elements(i.dst, i.rows, i.cols));
      write(elements(i.dst, i.rows, i.cols));
      break;
    case RIGI_TRANSPOSE:
      read_operand(i.a, i.cols);
      write(elements(i.dst, i.cols, i.rows));
      break;
    case RIGI_REDUCE:
      read_operand(i.a, i.cols);
      write(elements(i.dst, i.rows, 1));
      break;
    case RIGI_IOTA:
      write(elements(i.dst, i.rows, i.cols));
      break;
    case RIGI_TAKE:
      read_operand(i.a, i.depth);
      read_operand(i.b, i.cols);
      write(elements(i.dst, i.rows, i.cols));
      break;
    case RIGI_TOPK:
      read_operand(i.a, i.cols);
      write(elements(i.dst, i.rows, i.depth));
      write(elements(i.c, i.rows, i.depth));
      break;
    case RIGI_ACT:
      read_operand(i.a, i.cols);
      if ((i.flags & RIGI_ROW_BIAS) != 0) read(elements(i.b, i.rows, 1));
      write(elements(i.dst, i.rows, i.cols));
      if ((i.flags & RIGI_ROW_SUMS) != 0) write(elements(i.c, i.rows, 1));
      break;
    default:  // BINARY COMPARE SELECT CAST COPY
      read_operand(i.a, i.cols);
      if (i.op == RIGI_BINARY || i.op == RIGI_COMPARE || i.op == RIGI_SELECT) read_operand(i.b, i.cols);
      if (i.op == RIGI_SELECT) read_operand(i.c, i.cols);
      write(elements(i.dst, i.rows, i.cols));
  }
  return s;
}

namespace {

uint64_t ceil_div(uint64_t n, uint64_t d) { return (n + d - 1) / d; }
uint64_t round_up(uint64_t n, uint64_t d) { return ceil_div(n, d) * d; }

Cost dma_cost(const rigi_instr& i, const Chip& chip) {
  const uint64_t row_bytes = i.op == RIGI_FILL ? bytes_of(i.dst, i.cols) : i.cols;
  const bool indexed = i.op == RIGI_GATHER || i.op == RIGI_SCATTER;
  const uint64_t busy = chip.dma_setup + ceil_div(i.rows * row_bytes, chip.dma_bytes_per_cycle) +
                        (indexed ? uint64_t{chip.dma_cycles_per_index} * i.rows : 0);
  Cost cost{busy, chip.dma_latency, 0, 0, 0};
  if (i.op == RIGI_FILL) {
    cost.latency = 0;
  } else if (i.op == RIGI_SEND) {
    cost.latency = chip.send_latency;
  } else {
    const bool one_piece = !indexed && (i.rows == 1 || i.hbm_stride == static_cast<int64_t>(row_bytes));
    cost.hbm_bytes = one_piece ? round_up(i.rows * row_bytes, chip.hbm_burst) : i.rows * round_up(row_bytes, chip.hbm_burst);
  }
  return cost;
}

}  // namespace

Cost cost_of(const rigi_instr& i, const Chip& chip) {
  switch (engine_of(i.op)) {
    case Engine::Load:
    case Engine::Store:
      return dma_cost(i, chip);
    case Engine::Matrix: {
      const uint64_t k = dtype_bytes(i.a.dtype) == 1 ? chip.matrix_k8 : chip.matrix_k16;
      const uint64_t busy = ceil_div(i.depth, k) * ceil_div(i.cols, chip.matrix_n) * std::max(i.rows, chip.matrix_min_m);
      return {busy, chip.matrix_latency, 0, 0, 0};
    }
    case Engine::Vector: {
      uint64_t n = i.rows * round_up(i.cols, chip.vector_row_pad);
      if (i.op == RIGI_TRANSPOSE) n = std::max(n, i.cols * round_up(i.rows, chip.vector_row_pad));
      if (i.op == RIGI_TAKE) n = std::max(n, (i.a.bcast == RIGI_ROW ? 1 : i.rows) * round_up(i.depth, chip.vector_row_pad));
      uint32_t passes = 1;
      if (i.op == RIGI_BINARY && i.fn == RIGI_DIV) passes = chip.passes_div;
      if (i.op == RIGI_TRANSPOSE) passes = chip.passes_transpose;
      if (i.op == RIGI_TOPK) passes = i.depth;
      return {chip.vector_setup + passes * ceil_div(n, chip.vector_lanes), chip.vector_latency, 0, passes, n};
    }
    default: {
      const uint64_t n = i.rows * round_up(i.cols, chip.act_row_pad);
      return {chip.act_setup + ceil_div(n, chip.act_lanes), chip.act_latency, 0, 1, n};
    }
  }
}

}  // namespace rigi
