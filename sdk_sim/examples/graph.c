/* A graph with two branches in C: a fork and a join of two streams are captured once and launched many times with one call each.
 *
 * The first stream forks: it and the second each add one to their own half of a vector, then the first waits for the second and doubles
 * everything. Launched n times from zero, every element is 2^(n+1) - 2. Inside a graph a launch costs far less than from the host.
 */
#include <inttypes.h>
#include <rigi.h>
#include <stdio.h>
#include <stdlib.h>

enum { CORES = 16, ELEMENTS = 2 * CORES * 256, HALF = ELEMENTS / 2, ROW_BYTES = 1024, TIMES = 10, LENGTH = 3 };

#define CHECK(call)                                                                                 \
  do {                                                                                              \
    const rigiStatus status_ = (call);                                                              \
    if (status_ != RIGI_SUCCESS) {                                                                  \
      fprintf(stderr, "%s: %s\n%s\n", #call, rigiGetStatusName(status_), rigiGetLastErrorString()); \
      exit(EXIT_FAILURE);                                                                           \
    }                                                                                               \
  } while (0)

/* Submits v = v + addend, or v = v * factor, for 16 x 256 x `rows` floats from `address`: `rows` rows of 256 on each core. */
static void launch(rigiStream_t stream, const char* name, uint64_t address, uint32_t rows, uint8_t function, float operand) {
  rigi_instr instrs[CORES * LENGTH];
  uint64_t offsets[CORES + 1];
  const rigi_operand block = {.stride = ROW_BYTES, .dtype = RIGI_F32, .bcast = RIGI_FULL};
  const rigi_operand number = {.dtype = RIGI_F32, .bcast = RIGI_IMM, .imm = operand};
  for (uint32_t core = 0; core < CORES; ++core) {
    rigi_instr* const i = instrs + (size_t)core * LENGTH;
    const uint64_t hbm = address + (uint64_t)core * rows * ROW_BYTES;
    i[0] = (rigi_instr){.op = RIGI_LOAD, .dst = block, .hbm = hbm, .hbm_stride = ROW_BYTES, .rows = rows, .cols = ROW_BYTES};
    i[1] = (rigi_instr){.op = RIGI_BINARY, .fn = function, .dst = block, .a = block, .b = number, .rows = rows, .cols = ROW_BYTES / 4};
    i[2] = (rigi_instr){.op = RIGI_STORE, .a = block, .hbm = hbm, .hbm_stride = ROW_BYTES, .rows = rows, .cols = ROW_BYTES};
    offsets[core] = core * LENGTH;
  }
  offsets[CORES] = CORES * LENGTH;
  CHECK(rigiLaunchProgram(stream, name, instrs, offsets, 1)); /* the arrays may go when it returns */
}

static void both_halves(rigiStream_t first, rigiStream_t second, rigiEvent_t fork, rigiEvent_t join, uint64_t v) {
  CHECK(rigiEventRecord(fork, first));
  CHECK(rigiStreamWaitEvent(second, fork)); /* the second stream joins the capture */
  launch(first, "add_low", v, 1, RIGI_ADD, 1);
  launch(second, "add_high", v + HALF * sizeof(float), 1, RIGI_ADD, 1);
  CHECK(rigiEventRecord(join, second));
  CHECK(rigiStreamWaitEvent(first, join)); /* and must be joined again before the end */
  launch(first, "double", v, 2, RIGI_MUL, 2);
}

int main(void) {
  void* v;
  rigiStream_t first, second;
  rigiEvent_t fork, join;
  CHECK(rigiDeviceSetMode(0, RIGI_TIMED));
  CHECK(rigiMalloc(0, ELEMENTS * sizeof(float), &v));
  CHECK(rigiMemset(v, 0, ELEMENTS * sizeof(float)));
  CHECK(rigiStreamCreate(0, &first));
  CHECK(rigiStreamCreate(0, &second));
  CHECK(rigiEventCreate(&fork));
  CHECK(rigiEventCreate(&join));

  uint64_t start, middle, end;
  both_halves(first, second, fork, join, (uintptr_t)v); /* once without a graph */
  CHECK(rigiStreamGetCycles(first, &start));
  both_halves(first, second, fork, join, (uintptr_t)v);
  CHECK(rigiStreamGetCycles(first, &middle));

  rigiGraph_t graph;
  rigiGraphExec_t exec;
  size_t nodes;
  CHECK(rigiStreamBeginCapture(first));
  both_halves(first, second, fork, join, (uintptr_t)v); /* noted, not run */
  CHECK(rigiStreamEndCapture(first, &graph));
  CHECK(rigiGraphGetNodeCount(graph, &nodes));
  CHECK(rigiGraphInstantiate(graph, &exec));
  for (int n = 0; n < TIMES; ++n) CHECK(rigiGraphLaunch(exec, first));
  CHECK(rigiStreamGetCycles(first, &end));
  const uint64_t single = middle - start, in_graph = (end - middle) / TIMES;
  printf("cycles    %" PRIu64 " from the host, %" PRIu64 " as a graph of %zu nodes\n", single, in_graph, nodes);

  static float result[ELEMENTS];
  CHECK(rigiMemcpy(result, v, sizeof(result)));
  float expected = 0;
  for (int n = 0; n < 2 + TIMES; ++n) expected = (expected + 1) * 2;
  int wrong = 0;
  for (int i = 0; i < ELEMENTS; ++i) wrong += result[i] != expected;
  printf("results   %d values, %d wrong\n", (int)ELEMENTS, wrong);

  CHECK(rigiGraphExecDestroy(exec));
  CHECK(rigiGraphDestroy(graph));
  CHECK(rigiEventDestroy(fork));
  CHECK(rigiEventDestroy(join));
  CHECK(rigiStreamDestroy(first));
  CHECK(rigiStreamDestroy(second));
  CHECK(rigiFree(v));
  return wrong == 0 && in_graph < single ? EXIT_SUCCESS : EXIT_FAILURE;
}
