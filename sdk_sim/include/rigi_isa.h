/* The instruction set of Rigi-1 as data. Shared by the host API (rigi.h) and by kernels (rigi_kernel.h).
 *
 * One instruction is one `rigi_instr`. Which fields an opcode reads is said beside it; unread fields are ignored.
 * SRAM addresses are bytes from the start of the executing core's scratchpad. HBM addresses are device pointers as
 * rigiMalloc returned them (plus an offset).
 */
#ifndef RIGI_ISA_H_
#define RIGI_ISA_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bumped whenever rigi_instr, an opcode's meaning or the kernel entry changes. Modules carry it. */
#define RIGI_ABI_VERSION 1

typedef enum rigi_dtype {
  RIGI_F32 = 0,
  RIGI_F16 = 1,
  RIGI_BF16 = 2,
  RIGI_E4M3 = 3, /* fp8 e4m3fn: no infinity, saturates */
  RIGI_E5M2 = 4,
  RIGI_I8 = 5,
  RIGI_I32 = 6,
  RIGI_U8 = 7,
  RIGI_I4 = 8, /* two a byte, low nibble first; only as a cast source */
  RIGI_DTYPE_COUNT = 9
} rigi_dtype;

/* How an operand spreads over the rows x cols of the instruction. */
typedef enum rigi_bcast {
  RIGI_FULL = 0, /* its own element everywhere */
  RIGI_ROW = 1,  /* one row, repeated for every row: x[c] */
  RIGI_COL = 2,  /* one element a row, repeated along the row: x[r], rows `stride` bytes apart */
  RIGI_IMM = 3   /* the number in `imm`; no SRAM is read */
} rigi_bcast;

/* A 2-D block of SRAM: element (r, c) lies at addr + r * stride + c * sizeof(dtype). `addr` is 64-byte aligned. */
typedef struct rigi_operand {
  uint32_t addr;
  int32_t stride; /* bytes from row to row */
  uint8_t dtype;  /* rigi_dtype */
  uint8_t bcast;  /* rigi_bcast */
  uint16_t reserved;
  float imm;
} rigi_operand;

typedef enum rigi_op {
  /* load engine: dst is SRAM [rows, cols] where cols counts BYTES; dtype is ignored except by FILL */
  RIGI_LOAD = 0,           /* dst, hbm, hbm_stride, rows, cols(bytes) */
  RIGI_GATHER = 1,         /* as LOAD, but row r comes from hbm + a[r] * hbm_stride; a: int32[rows], contiguous, indices >= 0 */
  RIGI_LOAD_MULTICAST = 2, /* as LOAD; fn = rigi_group. Every core of the group issues it with equal dst, hbm and sizes */
  RIGI_FILL = 3,           /* dst [rows, cols ELEMENTS] of dst.dtype = scale (converted to dst.dtype) */
  /* store engine: a is SRAM [rows, cols BYTES]; */
  RIGI_STORE = 4,     /* a, hbm, hbm_stride, rows, cols(bytes) */
  RIGI_SCATTER = 5,   /* as STORE, row r goes to hbm + b[r] * hbm_stride; b: int32[rows] contiguous, indices >= 0 */
  RIGI_STORE_ADD = 6, /* HBM += a, element type a.dtype (F32 or BF16); cols(bytes) */
  RIGI_SEND = 7,      /* a -> dst in the SRAM of core `target`; rows, cols(bytes) */
  /* matrix engine: rows = M, cols = N, depth = K */
  RIGI_MMA = 8, /* dst C[M,N] (F32, or I32 for I8) = or += a[M,K] x b; b is [K,N], or [N,K] with RIGI_TRANS_B */
  /* vector engine: rows x cols elements. Floats are widened to fp32 on read and rounded to dst.dtype on write; if every
     operand and dst are integers the arithmetic is int32 (wraps; div truncates toward zero, by zero gives 0) */
  RIGI_BINARY = 9,     /* fn = rigi_binary: dst = a fn b */
  RIGI_COMPARE = 10,   /* fn = rigi_compare: dst = a fn b ? 1 : 0 */
  RIGI_SELECT = 11,    /* dst = c != 0 ? a : b */
  RIGI_CAST = 12,      /* dst = a, converted, round to nearest even; float to int rounds to nearest even and saturates */
  RIGI_COPY = 13,      /* dst = a, raw bits, equal dtypes */
  RIGI_TRANSPOSE = 14, /* dst [cols, rows] = a [rows, cols]^T, equal dtypes */
  RIGI_REDUCE = 15,    /* fn = rigi_reduce over each row of a: dst [rows, 1] */
  RIGI_IOTA = 16,      /* dst[r, c] = bias + r * scale + c * imm of a; computed in int32 for an int dst, else fp32 */
  RIGI_TAKE = 17,      /* dst[r, c] = a[r, b[r, c]]; b int32; depth = columns of a; a may be ROW. Raw bits */
  RIGI_TOPK = 18,      /* dst [rows, depth] and c (int32 indices) [rows, depth]: the depth largest of each row of a, descending;
                          ties: lower index first; NaN counts as the largest. dst.dtype == a.dtype */
  /* activation engine */
  RIGI_ACT = 19, /* fn = rigi_act: dst = fn(a * scale + bias), cast to dst.dtype; a RIGI_FULL or RIGI_ROW or RIGI_COL.
                    With RIGI_ROW_BIAS the bias is b (fp32, one a row, RIGI_COL) instead of the immediate.
                    With RIGI_ROW_SUMS c [rows, 1] (fp32) gets the row sums of the fp32 results, before the cast.
                    a * scale + bias is one fused multiply-add */
  RIGI_OP_COUNT = 20
} rigi_op;

typedef enum rigi_group { RIGI_GROUP_ROW = 0, RIGI_GROUP_COL = 1, RIGI_GROUP_ALL = 2 } rigi_group;
typedef enum rigi_binary {
  RIGI_ADD = 0,
  RIGI_SUB = 1,
  RIGI_MUL = 2,
  RIGI_DIV = 3,
  RIGI_MAX = 4, /* if either is NaN the result is NaN */
  RIGI_MIN = 5
} rigi_binary;
typedef enum rigi_compare { RIGI_LT = 0, RIGI_LE = 1, RIGI_GT = 2, RIGI_GE = 3, RIGI_EQ = 4, RIGI_NE = 5 } rigi_compare;
typedef enum rigi_reduce { RIGI_SUM = 0, RIGI_RMAX = 1 } rigi_reduce;
typedef enum rigi_act {
  RIGI_IDENTITY = 0,
  RIGI_EXP = 1,
  RIGI_EXP2 = 2,
  RIGI_LOG = 3,
  RIGI_TANH = 4,
  RIGI_SIGMOID = 5,
  RIGI_SILU = 6,
  RIGI_GELU = 7,
  RIGI_GELU_TANH = 8,
  RIGI_RSQRT = 9,
  RIGI_SQRT = 10,
  RIGI_RECIPROCAL = 11,
  RIGI_SIN = 12,
  RIGI_COS = 13,
  RIGI_ACT_COUNT = 14
} rigi_act;

enum rigi_flags {
  RIGI_ACCUMULATE = 1, /* MMA: add to C */
  RIGI_TRANS_B = 2,    /* MMA: b is [N, K] */
  RIGI_ROW_BIAS = 4,   /* ACT */
  RIGI_ROW_SUMS = 8    /* ACT */
};

typedef struct rigi_instr {
  uint8_t op;     /* rigi_op */
  uint8_t fn;     /* the function within the opcode */
  uint8_t flags;  /* rigi_flags */
  uint8_t target; /* SEND: the receiving core */
  uint32_t rows, cols, depth;
  rigi_operand dst, a, b, c;
  float scale, bias;
  uint64_t hbm;
  int64_t hbm_stride; /* bytes from row to row */
  uint32_t line;      /* line of the kernel's source, 0 if unknown; for diagnostics only */
  uint32_t reserved;
} rigi_instr;

#ifdef __cplusplus
}
static_assert(sizeof(rigi_operand) == 16 && sizeof(rigi_instr) == 112, "the ABI of an instruction");
#endif
#endif /* RIGI_ISA_H_ */
