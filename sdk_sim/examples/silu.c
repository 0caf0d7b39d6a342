/* y = silu(2.5 x) and z = y + x on one Rigi-1, in C. The program is data: no compiler and no module are needed.
 *
 * Everything that a host program does is here once: properties, memory, copies, a launch on a stream, simulated time, statistics, an error
 * and the way back from it. It ends with status 0 only if the results are right: z to the bit, y to the 2 ulp that the chip promises.
 */
#include <inttypes.h>
#include <rigi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CORES = 16, ROW = 1024, ELEMENTS = CORES * ROW, ROW_BYTES = ROW * sizeof(float), LENGTH = 5 };

/* Every call returns a status; the text belongs to this thread's last failure. */
#define CHECK(call)                                                                                 \
  do {                                                                                              \
    const rigiStatus status_ = (call);                                                              \
    if (status_ != RIGI_SUCCESS) {                                                                  \
      fprintf(stderr, "%s: %s\n%s\n", #call, rigiGetStatusName(status_), rigiGetLastErrorString()); \
      exit(EXIT_FAILURE);                                                                           \
    }                                                                                               \
  } while (0)

static rigi_operand sram(uint32_t address) {
  rigi_operand block = {0};
  block.addr = address;
  block.stride = ROW_BYTES;
  block.dtype = RIGI_F32;
  block.bcast = RIGI_FULL;
  return block;
}

/* Core c takes row c: load x, y = silu(2.5 x), z = y + x, store both. The scoreboard orders them; no synchronization is written. */
static void write_program(rigi_instr* instrs, uint64_t* offsets, uint64_t x, uint64_t y, uint64_t z) {
  const rigi_operand in_x = sram(0), in_y = sram(ROW_BYTES), in_z = sram(2 * ROW_BYTES);
  for (uint32_t core = 0; core < CORES; ++core) {
    rigi_instr* const i = instrs + (size_t)core * LENGTH;
    const uint64_t row = (uint64_t)core * ROW_BYTES;
    i[0] = (rigi_instr){.op = RIGI_LOAD, .dst = in_x, .hbm = x + row, .rows = 1, .cols = ROW_BYTES}; /* DMA counts bytes, */
    i[1] =
        (rigi_instr){.op = RIGI_ACT, .fn = RIGI_SILU, .dst = in_y, .a = in_x, .scale = 2.5F, .rows = 1, .cols = ROW}; /* others elements */
    i[2] = (rigi_instr){.op = RIGI_BINARY, .fn = RIGI_ADD, .dst = in_z, .a = in_y, .b = in_x, .rows = 1, .cols = ROW};
    i[3] = (rigi_instr){.op = RIGI_STORE, .a = in_y, .hbm = y + row, .rows = 1, .cols = ROW_BYTES};
    i[4] = (rigi_instr){.op = RIGI_STORE, .a = in_z, .hbm = z + row, .rows = 1, .cols = ROW_BYTES};
    offsets[core] = core * LENGTH;
  }
  offsets[CORES] = CORES * LENGTH;
}

/* exp(v) in double, by its series, so that libm is not needed. */
static double exp_series(double v) {
  double term = 1, sum = 1;
  for (int n = 1; n < 40; ++n) sum += term *= v / 16 / n;
  for (int n = 0; n < 4; ++n) sum *= sum; /* exp(v) = exp(v / 16)^16 */
  return sum;
}

static uint32_t bits(float value) {
  uint32_t b;
  memcpy(&b, &value, sizeof(b));
  return b;
}

static int wrong_results(const float* x, const float* y, const float* z) {
  int wrong = 0;
  for (int i = 0; i < ELEMENTS; ++i) {
    const double v = 2.5 * (double)x[i];
    const uint32_t expected = bits((float)(v / (1 + exp_series(-v))));
    const uint32_t got = bits(y[i]);
    const uint32_t apart = expected > got ? expected - got : got - expected; /* of equal sign: ulp */
    if (apart > 2 || bits(z[i]) != bits(y[i] + x[i])) ++wrong;
  }
  return wrong;
}

/* An instruction that the hardware could not carry out: the fault names it, stays until the reset, and ends nothing. */
static void fault_and_recover(rigi_instr* instrs, const uint64_t* offsets) {
  const rigi_operand good = instrs[1].dst;
  instrs[1].dst.addr = 1U << 30; /* core 0 writes far beyond its SRAM */
  CHECK(rigiLaunchProgram(NULL, "broken", instrs, offsets, 1)); /* submitted: the fault comes later */
  instrs[1].dst = good;
  const rigiStatus status = rigiDeviceSynchronize(0);
  if (status != RIGI_ERROR_KERNEL_FAULT || strstr(rigiGetLastErrorString(), "core 0, phase 0, instruction 1 (act)") == NULL) {
    fprintf(stderr, "the fault was not named: %s\n", rigiGetLastErrorString());
    exit(EXIT_FAILURE);
  }
  printf("fault     %s\n          %s\n", rigiGetStatusName(status), rigiGetLastErrorString());
  CHECK(rigiDeviceReset(0));
}

int main(void) {
  rigiDeviceProperties chip;
  CHECK(rigiGetDeviceProperties(0, &chip));
  printf("device    %s %s: %" PRId32 " cores at %.2f GHz, %" PRIu64 " GiB HBM at %.1f TB/s, %.0f TFLOP/s (SDK %s)\n", chip.name,
         chip.revision, chip.cores, chip.clock_hz / 1e9, chip.hbm_bytes >> 30, chip.hbm_bytes_per_s / 1e12, chip.peak_flops_16bit / 1e12,
         rigiGetVersion());
  if (chip.cores != CORES) {
    fprintf(stderr, "this example is written for %d cores\n", CORES);
    return EXIT_FAILURE;
  }
  CHECK(rigiDeviceSetMode(0, RIGI_TIMED));

  static float x[ELEMENTS], y[ELEMENTS], z[ELEMENTS], again[ELEMENTS];
  for (int i = 0; i < ELEMENTS; ++i) x[i] = (float)(i - ELEMENTS / 2) / (ELEMENTS / 8);
  void *device_x, *device_y, *device_z;
  CHECK(rigiMalloc(0, sizeof(x), &device_x));
  CHECK(rigiMalloc(0, sizeof(y), &device_y));
  CHECK(rigiMalloc(0, sizeof(z), &device_z));
  CHECK(rigiMemcpy(device_x, x, sizeof(x)));

  static rigi_instr instrs[CORES * LENGTH];
  static uint64_t offsets[CORES + 1];
  write_program(instrs, offsets, (uintptr_t)device_x, (uintptr_t)device_y, (uintptr_t)device_z);

  rigiStream_t stream;
  rigiEvent_t before, after;
  CHECK(rigiStreamCreate(0, &stream));
  CHECK(rigiEventCreate(&before));
  CHECK(rigiEventCreate(&after));
  CHECK(rigiLaunchProgram(stream, "silu_add", instrs, offsets, 1)); /* after it the stream's clock stands where the chip is free */
  CHECK(rigiEventRecord(before, stream));
  CHECK(rigiLaunchProgram(stream, "silu_add", instrs, offsets, 1));
  CHECK(rigiEventRecord(after, stream));
  CHECK(rigiMemcpyAsync(y, device_y, sizeof(y), stream));
  CHECK(rigiMemcpyAsync(z, device_z, sizeof(z), stream));
  CHECK(rigiStreamSynchronize(stream));
  int64_t cycles;
  double milliseconds;
  CHECK(rigiEventElapsedCycles(before, after, &cycles));
  CHECK(rigiEventElapsedTime(before, after, &milliseconds));
  printf("launch    %" PRId64 " cycles, %.3f us on the chip\n", cycles, milliseconds * 1e3);

  char* statistics;
  CHECK(rigiDeviceTakeStatistics(0, &statistics));
  printf("counted   %s\n", statistics);
  free(statistics);

  fault_and_recover(instrs, offsets);
  CHECK(rigiMemset(device_z, 0, sizeof(z)));
  CHECK(rigiLaunchProgram(stream, "silu_add", instrs, offsets, 1));
  CHECK(rigiStreamSynchronize(stream));
  CHECK(rigiMemcpy(again, device_z, sizeof(again)));

  const int wrong = wrong_results(x, y, z);
  const int same = memcmp(z, again, sizeof(z)) == 0;
  CHECK(rigiEventDestroy(before));
  CHECK(rigiEventDestroy(after));
  CHECK(rigiStreamDestroy(stream));
  CHECK(rigiFree(device_x));
  CHECK(rigiFree(device_y));
  CHECK(rigiFree(device_z));
  printf("results   %d values, %d wrong, %s after the reset\n", (int)ELEMENTS, wrong, same ? "the same bits" : "other bits");
  return wrong == 0 && same ? EXIT_SUCCESS : EXIT_FAILURE;
}
