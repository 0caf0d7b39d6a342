/* rigi.h: the host interface of the Rigi-1 SDK. Plain C, one flat namespace, every call returns a status.
 *
 * Model. A device has 16 cores, HBM and one submission queue: work runs in the order in which it was submitted, whatever
 * its stream. Streams are the lines of simulated time on a device: each has a clock in cycles; events copy it; waiting for
 * an event moves a stream's clock up to it. Calls named ...Async and launches return at once.
 *
 * A call may reuse its arguments when it returns; host memory of an asynchronous copy of more than 64 KiB must stay as it is until the
 * copy is done.
 *
 * Errors. A call that fails returns a code and leaves a text for rigiGetLastErrorString() of the calling thread. A fault
 * inside a kernel is sticky: it appears at the next synchronizing call and at every later call on that device, which
 * refuses work until rigiDeviceReset(). Allocation, pointer queries, and trace start and stop go on meanwhile; so do event records and
 * host functions submitted before the fault was seen, so that nobody waits for ever. Nothing here ends the process. All functions are
 * thread-safe.
 */
#ifndef RIGI_H_
#define RIGI_H_

#include <stddef.h>
#include <stdint.h>

#include "rigi_isa.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RIGI_SDK_VERSION "1.0.0"
#define RIGI_API __attribute__((visibility("default")))
#ifdef __cplusplus
#define RIGI_ENUM : int /* a caller in C may pass any number, and it must be possible to refuse it */
#else
#define RIGI_ENUM
#endif

typedef enum rigiStatus RIGI_ENUM {
  RIGI_SUCCESS = 0,
  RIGI_ERROR_INVALID_VALUE = 1,    /* an argument is out of its range */
  RIGI_ERROR_INVALID_DEVICE = 2,
  RIGI_ERROR_INVALID_HANDLE = 3,   /* a stream, event, module or kernel that does not exist (any more) */
  RIGI_ERROR_OUT_OF_MEMORY = 4,
  RIGI_ERROR_INVALID_POINTER = 5,  /* not inside a live allocation */
  RIGI_ERROR_NOT_READY = 6,        /* a query: not an error */
  RIGI_ERROR_MODULE_FORMAT = 7,    /* not a Rigi module, or damaged */
  RIGI_ERROR_MODULE_MISMATCH = 8,  /* built for another chip, revision or SDK */
  RIGI_ERROR_NOT_FOUND = 9,        /* no such kernel */
  RIGI_ERROR_KERNEL_FAULT = 10,    /* sticky: an instruction was refused */
  RIGI_ERROR_CHIP_FILE = 11,       /* the chip description cannot be read */
  RIGI_ERROR_IO = 12,
  RIGI_ERROR_INTERNAL = 13,
  RIGI_ERROR_CAPTURE = 14 /* not while a stream captures, or a capture that cannot become a graph */
} rigiStatus;

RIGI_API const char* rigiGetStatusName(rigiStatus status);
RIGI_API const char* rigiGetLastErrorString(void); /* of this thread; valid until its next failing call */
RIGI_API const char* rigiGetVersion(void);

/* ---- devices. RIGI_DEVICES (1..16, default 1) says how many are emulated; RIGI_CHIP names another chip file. */
typedef struct rigiDeviceProperties {
  char name[32];
  char revision[16];
  int32_t cores, grid_rows, grid_cols;
  uint64_t sram_bytes, hbm_bytes;
  double clock_hz;
  double peak_flops_16bit, peak_ops_8bit; /* per second, whole chip */
  double hbm_bytes_per_s;
  uint32_t hbm_bytes_per_cycle, launch_cycles, graph_launch_cycles, barrier_cycles;
  char override_path[256]; /* the chip file named by RIGI_CHIP, or empty */
} rigiDeviceProperties;

/* Default: RIGI_MODE=functional|timed|timing-only|strict, else timed. The mode of a piece of work is the device's when it is submitted. */
typedef enum rigiMode RIGI_ENUM {
  RIGI_FUNCTIONAL = 0,  /* data, no time */
  RIGI_TIMED = 1,       /* data and time */
  RIGI_TIMING_ONLY = 2, /* time, no data: nothing is computed, HBM stays untouched but for copies of up to 64 KiB, which scalars may read */
  RIGI_STRICT = 3 /* data and time, every access checked against what was allocated, written and shared; slow */
} rigiMode;

RIGI_API rigiStatus rigiGetDeviceCount(int* count);
RIGI_API rigiStatus rigiGetDeviceProperties(int device, rigiDeviceProperties* properties);
RIGI_API rigiStatus rigiDeviceSynchronize(int device);
RIGI_API rigiStatus rigiDeviceGetError(int device); /* the sticky error, or success; also sets the text */
RIGI_API rigiStatus rigiDeviceReset(int device); /* drops queued work and the sticky error; memory, streams and modules stay */
RIGI_API rigiStatus rigiDeviceSetMode(int device, rigiMode mode);
RIGI_API rigiStatus rigiDeviceGetMode(int device, rigiMode* mode);
RIGI_API rigiStatus rigiSetNumThreads(int threads); /* host threads that run cores; default RIGI_NUM_THREADS, else the host's, at most 16 */

/* ---- strict mode. A launch with findings faults the device (the text is the first finding); all of them can be taken as JSON:
 * [{"kind": "uninitialized" | "out_of_bounds" | "use_after_free" | "misaligned" | "race" | "multicast" | "invalid",
 * "kernel", "core", "phase", "instruction", "op", "operand", "line", "text"}]. Taking empties the list; it works on a faulted device. Freed
 * with free(). */
RIGI_API rigiStatus rigiDeviceTakeFindings(int device, char** json);
/* Live allocations, oldest first: [{"address": n, "bytes": n, "number": n}], number counting the device's allocations from 1. In strict
 * mode the list is also printed on standard error when the process ends. Freed with free(). */
RIGI_API rigiStatus rigiDeviceGetAllocations(int device, char** json);

/* ---- memory. Device pointers are 256-byte aligned; the emulator's are host-addressable. Zero bytes give a null pointer, which may be
 * freed. Freed memory may be handed out again at once: synchronize before touching device memory from the host. */
RIGI_API rigiStatus rigiMalloc(int device, size_t bytes, void** pointer);
RIGI_API rigiStatus rigiFree(void* pointer); /* ordered after work already submitted */
RIGI_API rigiStatus rigiMemGetInfo(int device, size_t* free_bytes, size_t* total_bytes);
RIGI_API rigiStatus rigiPointerGetDevice(const void* pointer, int* device); /* INVALID_POINTER if outside every HBM; sets no text */
RIGI_API rigiStatus rigiPointerGetAllocation(const void* pointer, void** base, size_t* bytes);

/* ---- streams and events. A null stream means the default stream of device 0. */
typedef struct rigiStream_s* rigiStream_t;
typedef struct rigiEvent_s* rigiEvent_t;
RIGI_API rigiStatus rigiStreamCreate(int device, rigiStream_t* stream);
RIGI_API rigiStatus rigiStreamDestroy(rigiStream_t stream); /* submitted work goes on; a capture that it takes part in is dropped */
RIGI_API rigiStatus rigiDefaultStream(int device, rigiStream_t* stream);
RIGI_API rigiStatus rigiStreamGetDevice(rigiStream_t stream, int* device);
RIGI_API rigiStatus rigiStreamSynchronize(rigiStream_t stream);
RIGI_API rigiStatus rigiStreamQuery(rigiStream_t stream); /* SUCCESS or NOT_READY */
RIGI_API rigiStatus rigiStreamWaitEvent(rigiStream_t stream, rigiEvent_t event);
RIGI_API rigiStatus rigiStreamGetCycles(rigiStream_t stream, uint64_t* cycles); /* simulated clock; synchronizes the stream */
RIGI_API rigiStatus rigiEventCreate(rigiEvent_t* event);
RIGI_API rigiStatus rigiEventDestroy(rigiEvent_t event);
RIGI_API rigiStatus rigiEventRecord(rigiEvent_t event, rigiStream_t stream);
RIGI_API rigiStatus rigiEventQuery(rigiEvent_t event);
RIGI_API rigiStatus rigiEventSynchronize(rigiEvent_t event);
RIGI_API rigiStatus rigiEventElapsedCycles(rigiEvent_t start, rigiEvent_t end, int64_t* cycles); /* both must have completed */
RIGI_API rigiStatus rigiEventElapsedTime(rigiEvent_t start, rigiEvent_t end, double* milliseconds); /* simulated */

/* ---- copies. Over the host link; the direction follows from the pointers. */
RIGI_API rigiStatus rigiMemcpy(void* dst, const void* src,
                               size_t bytes); /* on the default stream of the device concerned; returns when done */
RIGI_API rigiStatus rigiMemcpyAsync(void* dst, const void* src, size_t bytes, rigiStream_t stream);
RIGI_API rigiStatus rigiMemset(void* dst, int value, size_t bytes);
RIGI_API rigiStatus rigiMemsetAsync(void* dst, int value, size_t bytes, rigiStream_t stream);
RIGI_API rigiStatus rigiMemcpyPeerAsync(void* dst, const void* src, size_t bytes, rigiStream_t stream); /* over the chip-to-chip link */
RIGI_API rigiStatus rigiLaunchHostFunc(rigiStream_t stream, void (*function)(void*),
                                       void* data); /* in order, no simulated time; the function must not wait for a device */

/* Strict mode: the host has written these bytes itself, through the pointer. In other modes it does nothing. */
RIGI_API rigiStatus rigiMemMarkWritten(const void* pointer, size_t bytes);

/* ---- modules. One file: a header, a JSON manifest, the kernels' native code. Checked before any of it is run. */
typedef struct rigiModule_s* rigiModule_t;
typedef struct rigiKernel_s* rigiKernel_t;
RIGI_API rigiStatus rigiModuleLoad(int device, const char* path, rigiModule_t* module);
RIGI_API rigiStatus rigiModuleLoadData(int device, const void* image, size_t bytes, rigiModule_t* module);
RIGI_API rigiStatus rigiModuleUnload(rigiModule_t module);
RIGI_API rigiStatus rigiModuleGetKernel(rigiModule_t module, const char* name, rigiKernel_t* kernel);
RIGI_API rigiStatus rigiModuleGetManifest(rigiModule_t module, const char** json);
/* Makes a module image: `code` is a shared object that exports `rigi_module`. `*image` is freed with free(). */
RIGI_API rigiStatus rigiModulePack(const char* chip, const char* revision, const char* manifest_json, const void* code, size_t code_bytes,
                                   void** image, size_t* image_bytes);

/* ---- launches */
typedef union rigiArg {
  void* ptr;
  int64_t i64;
  double f64;
} rigiArg;
RIGI_API rigiStatus rigiLaunchKernel(rigiKernel_t kernel, rigiStream_t stream, const rigiArg* args, size_t num_args);

/* A program as data: straight-line instructions for every core and phase, without a compiler. The instructions of core c in
 * phase p are instrs[offsets[p * cores + c]] up to instrs[offsets[p * cores + c + 1]]; offsets has phases * cores + 1 entries. */
RIGI_API rigiStatus rigiLaunchProgram(rigiStream_t stream, const char* name, const rigi_instr* instrs, const uint64_t* offsets,
                                      uint32_t phases);

/* ---- graphs. Between Begin and End, work on the stream is not run but noted, also that of streams of the same device which wait for an
 * event recorded in the capture; they must be joined again by such an event before End. A graph's launches pay the graph launch cost.
 * Memory that a graph names must stay allocated; host memory of its copies is read and written at each launch. Synchronizing a capturing
 * stream, or taking its clock, is refused. */
typedef struct rigiGraph_s* rigiGraph_t; /* what was captured */
typedef struct rigiGraphExec_s* rigiGraphExec_t; /* a graph ready to launch, whose arguments may be changed */
typedef enum rigiNodeKind RIGI_ENUM {
  RIGI_NODE_KERNEL = 0,
  RIGI_NODE_COPY = 1,
  RIGI_NODE_SET = 2,
  RIGI_NODE_HOST = 3,
  RIGI_NODE_RECORD = 4,
  RIGI_NODE_WAIT = 5
} rigiNodeKind;
typedef struct rigiGraphNode {
  rigiNodeKind kind;
  uint32_t stream; /* 0: the one on which the capture began; others in the order in which they joined */
  size_t num_args; /* KERNEL */
  size_t bytes; /* COPY, SET */
  char name[256]; /* KERNEL: the kernel's or program's */
} rigiGraphNode;
RIGI_API rigiStatus rigiStreamBeginCapture(rigiStream_t stream);
RIGI_API rigiStatus rigiStreamEndCapture(rigiStream_t stream, rigiGraph_t* graph); /* ends the capture also when it fails */
RIGI_API rigiStatus rigiStreamIsCapturing(rigiStream_t stream, int* capturing);
RIGI_API rigiStatus rigiGraphDestroy(rigiGraph_t graph);
RIGI_API rigiStatus rigiGraphGetNodeCount(rigiGraph_t graph, size_t* count);
RIGI_API rigiStatus rigiGraphGetNode(rigiGraph_t graph, size_t index, rigiGraphNode* node); /* in order of capture */
RIGI_API rigiStatus rigiGraphInstantiate(rigiGraph_t graph, rigiGraphExec_t* exec);
RIGI_API rigiStatus rigiGraphExecDestroy(rigiGraphExec_t exec);
/* For launches from now on; those already submitted keep theirs. */
RIGI_API rigiStatus rigiGraphExecSetKernelArgs(rigiGraphExec_t exec, size_t index, const rigiArg* args, size_t num_args);
RIGI_API rigiStatus rigiGraphExecSetCopy(rigiGraphExec_t exec, size_t index, void* dst, const void* src, size_t bytes);
RIGI_API rigiStatus rigiGraphLaunch(rigiGraphExec_t exec, rigiStream_t stream);

/* ---- collectives. What they cost over the chip-to-chip links, in cycles, for 1..4096 devices on a ring. `bytes` is what one device holds
 * before (reduce-scatter, all-reduce, all-to-all) or after (all-gather) the collective. */
typedef enum rigiCollective RIGI_ENUM {
  RIGI_ALL_REDUCE = 0,
  RIGI_ALL_GATHER = 1,
  RIGI_REDUCE_SCATTER = 2,
  RIGI_ALL_TO_ALL = 3
} rigiCollective;
typedef enum rigiAlgorithm RIGI_ENUM { RIGI_RING = 0, RIGI_TREE = 1 } rigiAlgorithm;
RIGI_API rigiStatus rigiCollectiveGetCycles(rigiCollective collective, rigiAlgorithm algorithm, uint32_t devices, size_t bytes,
                                            uint64_t* cycles);

/* ---- statistics. The simulated cost of what ran on a device since the last call, as JSON
 * {"launches": n, "cycles": n, "kernels": {"name": {"launches": n, "cycles": n}}, "copies": {...}}. Synchronizes. Freed with free(). */
RIGI_API rigiStatus rigiDeviceTakeStatistics(int device, char** json);

/* ---- profiler. Writes one JSON object a launch or copy, see the manual; RIGI_PROFILE=FOLDER starts it on every device of the process.
 * Ranges name what work belongs to ("request", "layer", ...): they nest, follow the stream's order, and cost nothing while no profile is
 * taken. */
RIGI_API rigiStatus rigiProfilerStart(int device, const char* path);
RIGI_API rigiStatus rigiProfilerStop(int device);
RIGI_API rigiStatus rigiRangePush(rigiStream_t stream, const char* kind, const char* name);
RIGI_API rigiStatus rigiRangePop(rigiStream_t stream);

/* ---- instruction trace. One JSON object a line, see the manual. Launches from Start to Stop are written. Not in functional mode. */
RIGI_API rigiStatus rigiTraceStart(int device, const char* path);
RIGI_API rigiStatus rigiTraceStop(int device);

#ifdef __cplusplus
}
#endif
#endif /* RIGI_H_ */
