// Python's way to rigi.h: one flat function for each call, handles and device pointers as integers. The pleasant side is api.py.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "rigi.h"

namespace nb = nanobind;

namespace {

// What becomes a RigiError.
class Failure : public std::runtime_error {
 public:
  Failure(rigiStatus code, const std::string& text) : std::runtime_error(text), status(code) {}
  rigiStatus status;
};

void check(rigiStatus status) {
  if (status != RIGI_SUCCESS) throw Failure(status, rigiGetLastErrorString());
}

// Runs a call that may block, or that waits for a lock which a host function's thread may hold, without the GIL.
template <typename Call>
void without_gil(Call&& call) {
  rigiStatus status;
  std::string text;
  {
    const nb::gil_scoped_release release;
    status = call();
    if (status != RIGI_SUCCESS) text = rigiGetLastErrorString();
  }
  if (status != RIGI_SUCCESS) throw Failure(status, text);
}

template <typename Handle>
Handle handle(uintptr_t number) {
  return reinterpret_cast<Handle>(number);
}

template <typename Handle>
uintptr_t number(Handle handle) {
  return reinterpret_cast<uintptr_t>(handle);
}

// SUCCESS: true, NOT_READY: false.
bool ready(rigiStatus status) {
  if (status == RIGI_ERROR_NOT_READY) return false;
  check(status);
  return true;
}

nb::dict properties(int device) {
  rigiDeviceProperties p;
  check(rigiGetDeviceProperties(device, &p));
  nb::dict d;
  d["name"] = p.name;
  d["revision"] = p.revision;
  d["cores"] = p.cores;
  d["grid_rows"] = p.grid_rows;
  d["grid_cols"] = p.grid_cols;
  d["sram_bytes"] = p.sram_bytes;
  d["hbm_bytes"] = p.hbm_bytes;
  d["clock_hz"] = p.clock_hz;
  d["peak_flops_16bit"] = p.peak_flops_16bit;
  d["peak_ops_8bit"] = p.peak_ops_8bit;
  d["hbm_bytes_per_s"] = p.hbm_bytes_per_s;
  d["hbm_bytes_per_cycle"] = p.hbm_bytes_per_cycle;
  d["launch_cycles"] = p.launch_cycles;
  d["graph_launch_cycles"] = p.graph_launch_cycles;
  d["barrier_cycles"] = p.barrier_cycles;
  d["override_path"] = p.override_path;
  return d;
}

// Calls a Python function in the queue's thread; what it raises is reported like an exception in a destructor.
void call_python(void* data) {
  if (Py_IsInitialized() == 0) return;
  const nb::gil_scoped_acquire acquire;
  const nb::object function = nb::steal(static_cast<PyObject*>(data));
  try {
    function();
  } catch (nb::python_error& error) {
    error.discard_as_unraisable(function);
  }
}

void launch_host_function(uintptr_t stream, nb::object function) {
  function.inc_ref();  // call_python owns this reference
  try {
    without_gil([&] { return rigiLaunchHostFunc(handle<rigiStream_t>(stream), &call_python, function.ptr()); });
  } catch (const Failure&) {
    function.dec_ref();
    throw;
  }
}

std::vector<rigiArg> convert(const nb::sequence& arguments) {
  std::vector<rigiArg> args;
  for (const nb::handle argument : arguments) {
    rigiArg arg;
    if (nb::isinstance<nb::float_>(argument)) {
      arg.f64 = nb::cast<double>(argument);
    } else {
      arg.i64 = nb::cast<int64_t>(argument);
    }
    args.push_back(arg);
  }
  return args;
}

void launch_kernel(uintptr_t kernel, uintptr_t stream, const nb::sequence& arguments) {
  const std::vector<rigiArg> args = convert(arguments);
  without_gil([&] { return rigiLaunchKernel(handle<rigiKernel_t>(kernel), handle<rigiStream_t>(stream), args.data(), args.size()); });
}

nb::bytes pack(const std::string& chip, const std::string& revision, const std::string& manifest, const nb::bytes& code) {
  void* image = nullptr;
  size_t bytes = 0;
  check(rigiModulePack(chip.c_str(), revision.c_str(), manifest.c_str(), code.c_str(), code.size(), &image, &bytes));
  const std::unique_ptr<void, decltype(&std::free)> owner(image, &std::free);
  return nb::bytes(image, bytes);
}

// What a call that gives JSON says of a device.
template <rigiStatus (*call)(int, char**)>
std::string json_of(int device) {
  char* json = nullptr;
  without_gil([&] { return call(device, &json); });
  const std::unique_ptr<char, decltype(&std::free)> owner(json, &std::free);
  return json;
}

void bind_errors(nb::module_& m) {
  nb::enum_<rigiStatus>(m, "Status", nb::is_arithmetic(), "Why a call failed (rigi.h).")
      .value("SUCCESS", RIGI_SUCCESS)
      .value("INVALID_VALUE", RIGI_ERROR_INVALID_VALUE)
      .value("INVALID_DEVICE", RIGI_ERROR_INVALID_DEVICE)
      .value("INVALID_HANDLE", RIGI_ERROR_INVALID_HANDLE)
      .value("OUT_OF_MEMORY", RIGI_ERROR_OUT_OF_MEMORY)
      .value("INVALID_POINTER", RIGI_ERROR_INVALID_POINTER)
      .value("NOT_READY", RIGI_ERROR_NOT_READY)
      .value("MODULE_FORMAT", RIGI_ERROR_MODULE_FORMAT)
      .value("MODULE_MISMATCH", RIGI_ERROR_MODULE_MISMATCH)
      .value("NOT_FOUND", RIGI_ERROR_NOT_FOUND)
      .value("KERNEL_FAULT", RIGI_ERROR_KERNEL_FAULT)
      .value("CHIP_FILE", RIGI_ERROR_CHIP_FILE)
      .value("IO", RIGI_ERROR_IO)
      .value("INTERNAL", RIGI_ERROR_INTERNAL)
      .value("CAPTURE", RIGI_ERROR_CAPTURE);
  static PyObject* type = PyErr_NewExceptionWithDoc(
      "sdk_sim.RigiError", "A call that the SDK refused. `status` is the Status, the text is the SDK's own.", PyExc_RuntimeError, nullptr);
  m.attr("RigiError") = nb::borrow(type);
  nb::register_exception_translator([](const std::exception_ptr& caught, void*) {
    try {
      std::rethrow_exception(caught);
    } catch (const Failure& failure) {
      nb::object error = nb::borrow(type)(failure.what());
      error.attr("status") = nb::cast(failure.status);
      PyErr_SetObject(type, error.ptr());
    }
  });
}

void bind_devices(nb::module_& m) {
  m.def("version", [] { return std::string(rigiGetVersion()); });
  m.def("device_count", [] {
    int count = 0;
    check(rigiGetDeviceCount(&count));
    return count;
  });
  m.def("properties", &properties);
  m.def("synchronize", [](int device) { without_gil([&] { return rigiDeviceSynchronize(device); }); });
  m.def("check", [](int device) { check(rigiDeviceGetError(device)); });
  m.def("reset", [](int device) { without_gil([&] { return rigiDeviceReset(device); }); });
  m.def("set_mode", [](int device, int mode) { check(rigiDeviceSetMode(device, static_cast<rigiMode>(mode))); });
  m.def("get_mode", [](int device) {
    rigiMode mode = RIGI_TIMED;
    check(rigiDeviceGetMode(device, &mode));
    return static_cast<int>(mode);
  });
  m.def("set_num_threads", [](int threads) { check(rigiSetNumThreads(threads)); });
  m.def("take_statistics", &json_of<rigiDeviceTakeStatistics>);
  m.def("take_findings", &json_of<rigiDeviceTakeFindings>);
  m.def("allocations", &json_of<rigiDeviceGetAllocations>);
  m.def("profiler_start",
        [](int device, const std::string& path) { without_gil([&] { return rigiProfilerStart(device, path.c_str()); }); });
  m.def("profiler_stop", [](int device) { without_gil([&] { return rigiProfilerStop(device); }); });
  m.def("range_push", [](uintptr_t stream, const char* kind, const char* name) {
    without_gil([&] { return rigiRangePush(handle<rigiStream_t>(stream), kind, name); });
  });
  m.def("range_pop", [](uintptr_t stream) { without_gil([&] { return rigiRangePop(handle<rigiStream_t>(stream)); }); });
  m.def("trace_start", [](int device, const std::string& path) { without_gil([&] { return rigiTraceStart(device, path.c_str()); }); });
  m.def("trace_stop", [](int device) { without_gil([&] { return rigiTraceStop(device); }); });
}

void bind_memory(nb::module_& m) {
  m.def("malloc", [](int device, size_t bytes) {
    void* pointer = nullptr;
    check(rigiMalloc(device, bytes, &pointer));
    return number(pointer);
  });
  m.def("free", [](uintptr_t pointer) { without_gil([&] { return rigiFree(handle<void*>(pointer)); }); });
  m.def("memory_info", [](int device) {
    size_t free_bytes = 0, total_bytes = 0;
    check(rigiMemGetInfo(device, &free_bytes, &total_bytes));
    return std::pair(free_bytes, total_bytes);
  });
  m.def("pointer_device", [](uintptr_t pointer) -> std::optional<int> {
    int device = 0;
    if (rigiPointerGetDevice(handle<void*>(pointer), &device) != RIGI_SUCCESS) return std::nullopt;
    return device;
  });
  m.def("pointer_allocation", [](uintptr_t pointer) {
    void* base = nullptr;
    size_t bytes = 0;
    check(rigiPointerGetAllocation(handle<void*>(pointer), &base, &bytes));
    return std::pair(number(base), bytes);
  });
  m.def("memcpy", [](uintptr_t dst, uintptr_t src, size_t bytes) {
    without_gil([&] { return rigiMemcpy(handle<void*>(dst), handle<void*>(src), bytes); });
  });
  m.def("memcpy_async", [](uintptr_t dst, uintptr_t src, size_t bytes, uintptr_t stream) {
    without_gil([&] { return rigiMemcpyAsync(handle<void*>(dst), handle<void*>(src), bytes, handle<rigiStream_t>(stream)); });
  });
  m.def("memcpy_peer_async", [](uintptr_t dst, uintptr_t src, size_t bytes, uintptr_t stream) {
    without_gil([&] { return rigiMemcpyPeerAsync(handle<void*>(dst), handle<void*>(src), bytes, handle<rigiStream_t>(stream)); });
  });
  m.def("memset",
        [](uintptr_t dst, int value, size_t bytes) { without_gil([&] { return rigiMemset(handle<void*>(dst), value, bytes); }); });
  m.def("memset_async", [](uintptr_t dst, int value, size_t bytes, uintptr_t stream) {
    without_gil([&] { return rigiMemsetAsync(handle<void*>(dst), value, bytes, handle<rigiStream_t>(stream)); });
  });
}

void bind_streams(nb::module_& m) {
  m.def("stream_create", [](int device) {
    rigiStream_t stream = nullptr;
    check(rigiStreamCreate(device, &stream));
    return number(stream);
  });
  m.def("stream_default", [](int device) {
    rigiStream_t stream = nullptr;
    check(rigiDefaultStream(device, &stream));
    return number(stream);
  });
  m.def("stream_destroy", [](uintptr_t stream) { check(rigiStreamDestroy(handle<rigiStream_t>(stream))); });
  m.def("stream_device", [](uintptr_t stream) {
    int device = 0;
    check(rigiStreamGetDevice(handle<rigiStream_t>(stream), &device));
    return device;
  });
  m.def("stream_synchronize", [](uintptr_t stream) { without_gil([&] { return rigiStreamSynchronize(handle<rigiStream_t>(stream)); }); });
  m.def("stream_query", [](uintptr_t stream) { return ready(rigiStreamQuery(handle<rigiStream_t>(stream))); });
  m.def("stream_wait_event", [](uintptr_t stream, uintptr_t event) {
    without_gil([&] { return rigiStreamWaitEvent(handle<rigiStream_t>(stream), handle<rigiEvent_t>(event)); });
  });
  m.def("stream_cycles", [](uintptr_t stream) {
    uint64_t cycles = 0;
    without_gil([&] { return rigiStreamGetCycles(handle<rigiStream_t>(stream), &cycles); });
    return cycles;
  });
  m.def("event_create", [] {
    rigiEvent_t event = nullptr;
    check(rigiEventCreate(&event));
    return number(event);
  });
  m.def("event_destroy", [](uintptr_t event) { check(rigiEventDestroy(handle<rigiEvent_t>(event))); });
  m.def("event_record", [](uintptr_t event, uintptr_t stream) {
    without_gil([&] { return rigiEventRecord(handle<rigiEvent_t>(event), handle<rigiStream_t>(stream)); });
  });
  m.def("event_query", [](uintptr_t event) { return ready(rigiEventQuery(handle<rigiEvent_t>(event))); });
  m.def("event_synchronize", [](uintptr_t event) { without_gil([&] { return rigiEventSynchronize(handle<rigiEvent_t>(event)); }); });
  m.def("event_elapsed_cycles", [](uintptr_t start, uintptr_t end) {
    int64_t cycles = 0;
    check(rigiEventElapsedCycles(handle<rigiEvent_t>(start), handle<rigiEvent_t>(end), &cycles));
    return cycles;
  });
  m.def("event_elapsed_ms", [](uintptr_t start, uintptr_t end) {
    double milliseconds = 0;
    check(rigiEventElapsedTime(handle<rigiEvent_t>(start), handle<rigiEvent_t>(end), &milliseconds));
    return milliseconds;
  });
  m.def("launch_host_function", &launch_host_function);
}

void bind_modules(nb::module_& m) {
  m.def("module_load", [](int device, const std::string& path) {
    rigiModule_t module = nullptr;
    without_gil([&] { return rigiModuleLoad(device, path.c_str(), &module); });
    return number(module);
  });
  m.def("module_load_data", [](int device, nb::bytes image) {
    rigiModule_t module = nullptr;
    without_gil([&] { return rigiModuleLoadData(device, image.data(), image.size(), &module); });
    return number(module);
  });
  m.def("module_unload", [](uintptr_t module) { check(rigiModuleUnload(handle<rigiModule_t>(module))); });
  m.def("module_kernel", [](uintptr_t module, const std::string& name) {
    rigiKernel_t kernel = nullptr;
    check(rigiModuleGetKernel(handle<rigiModule_t>(module), name.c_str(), &kernel));
    return number(kernel);
  });
  m.def("module_manifest", [](uintptr_t module) {
    const char* json = nullptr;
    check(rigiModuleGetManifest(handle<rigiModule_t>(module), &json));
    return std::string(json);
  });
  m.def("module_pack", &pack);
  m.def("launch_kernel", &launch_kernel);
  m.def("launch_program", [](uintptr_t stream, const std::string& name, uintptr_t instrs, uintptr_t offsets, uint32_t phases) {
    without_gil([&] {
      return rigiLaunchProgram(handle<rigiStream_t>(stream), name.c_str(), handle<const rigi_instr*>(instrs),
                               handle<const uint64_t*>(offsets), phases);
    });
  });
}

nb::dict graph_node(uintptr_t graph, size_t index) {
  rigiGraphNode node;
  check(rigiGraphGetNode(handle<rigiGraph_t>(graph), index, &node));
  nb::dict d;
  d["kind"] = static_cast<int>(node.kind);
  d["stream"] = node.stream;
  d["num_args"] = node.num_args;
  d["bytes"] = node.bytes;
  d["name"] = node.name;
  return d;
}

void bind_graphs(nb::module_& m) {
  m.def("stream_begin_capture", [](uintptr_t stream) { check(rigiStreamBeginCapture(handle<rigiStream_t>(stream))); });
  m.def("stream_end_capture", [](uintptr_t stream) {
    rigiGraph_t graph = nullptr;
    check(rigiStreamEndCapture(handle<rigiStream_t>(stream), &graph));
    return number(graph);
  });
  m.def("stream_is_capturing", [](uintptr_t stream) {
    int capturing = 0;
    check(rigiStreamIsCapturing(handle<rigiStream_t>(stream), &capturing));
    return capturing != 0;
  });
  m.def("graph_destroy", [](uintptr_t graph) { without_gil([&] { return rigiGraphDestroy(handle<rigiGraph_t>(graph)); }); });
  m.def("graph_node_count", [](uintptr_t graph) {
    size_t count = 0;
    check(rigiGraphGetNodeCount(handle<rigiGraph_t>(graph), &count));
    return count;
  });
  m.def("graph_node", &graph_node);
  m.def("graph_instantiate", [](uintptr_t graph) {
    rigiGraphExec_t exec = nullptr;
    check(rigiGraphInstantiate(handle<rigiGraph_t>(graph), &exec));
    return number(exec);
  });
  m.def("graph_exec_destroy", [](uintptr_t exec) { without_gil([&] { return rigiGraphExecDestroy(handle<rigiGraphExec_t>(exec)); }); });
  m.def("graph_exec_set_args", [](uintptr_t exec, size_t index, const nb::sequence& arguments) {
    const std::vector<rigiArg> args = convert(arguments);
    check(rigiGraphExecSetKernelArgs(handle<rigiGraphExec_t>(exec), index, args.data(), args.size()));
  });
  m.def("graph_exec_set_copy", [](uintptr_t exec, size_t index, uintptr_t dst, uintptr_t src, size_t bytes) {
    check(rigiGraphExecSetCopy(handle<rigiGraphExec_t>(exec), index, handle<void*>(dst), handle<void*>(src), bytes));
  });
  m.def("graph_launch", [](uintptr_t exec, uintptr_t stream) {
    without_gil([&] { return rigiGraphLaunch(handle<rigiGraphExec_t>(exec), handle<rigiStream_t>(stream)); });
  });
  m.def("collective_cycles", [](int collective, int algorithm, uint32_t devices, size_t bytes) {
    uint64_t cycles = 0;
    check(rigiCollectiveGetCycles(static_cast<rigiCollective>(collective), static_cast<rigiAlgorithm>(algorithm), devices, bytes, &cycles));
    return cycles;
  });
}

}  // namespace

NB_MODULE(_rigi, m) {
  m.doc() = "rigi.h, one function for each call. See sdk_sim.api for the classes to use.";
  bind_errors(m);
  bind_devices(m);
  bind_memory(m);
  bind_streams(m);
  bind_modules(m);
  bind_graphs(m);
}
