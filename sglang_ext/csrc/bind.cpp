// The Python face of the extension, sglang_ext._C. What users call is sglang_ext/device/.

#include <torch/csrc/Generator.h>
#include <torch/csrc/utils/pybind.h>

#include "bounds.hpp"
#include "composites.hpp"
#include "exit.hpp"
#include "fallback.hpp"
#include "generator.hpp"
#include "refusals.hpp"

namespace rigi_torch {

void bind_distributed(pybind11::module& module);

namespace {

namespace py = pybind11;
using Release = py::call_guard<py::gil_scoped_release>;

py::dict properties(int device) {
  rigiDeviceProperties p{};
  check(rigiGetDeviceProperties(resolve_device(static_cast<c10::DeviceIndex>(device)), &p), "rigiGetDeviceProperties");
  py::dict result;
  result["name"] = std::string(p.name);
  result["revision"] = std::string(p.revision);
  result["cores"] = p.cores;
  result["sram_bytes"] = p.sram_bytes;
  result["total_memory"] = p.hbm_bytes;
  result["clock_hz"] = p.clock_hz;
  result["peak_flops_16bit"] = p.peak_flops_16bit;
  result["peak_ops_8bit"] = p.peak_ops_8bit;
  result["hbm_bytes_per_s"] = p.hbm_bytes_per_s;
  result["override_path"] = std::string(p.override_path);
  return result;
}

std::string take_statistics(c10::DeviceIndex device) {
  char* json = nullptr;
  check(rigiDeviceTakeStatistics(resolve_device(device), &json), "rigiDeviceTakeStatistics");
  std::string text(json);
  std::free(json);
  return text;
}

FallbackMode parse_mode(const std::string& mode) {
  if (mode == "allow") return FallbackMode::kAllow;
  if (mode == "warn") return FallbackMode::kWarn;
  if (mode == "error") return FallbackMode::kError;
  throw py::value_error("fallback mode must be 'allow', 'warn' or 'error', got '" + mode + "'");
}

const char* mode_name(FallbackMode mode) { return mode == FallbackMode::kAllow ? "allow" : mode == FallbackMode::kWarn ? "warn" : "error"; }

rigiStream_t stream_of(c10::DeviceIndex device) { return current_stream(resolve_device(device)); }

uint64_t cycles(c10::DeviceIndex device) {
  uint64_t result = 0;
  check(rigiStreamGetCycles(stream_of(device), &result), "rigiStreamGetCycles");
  return result;
}

void set_mode(c10::DeviceIndex device, int mode) {
  check(rigiDeviceSetMode(resolve_device(device), static_cast<rigiMode>(mode)), "rigiDeviceSetMode");
}

std::pair<size_t, size_t> memory_info(c10::DeviceIndex device) {
  size_t free_bytes = 0, total_bytes = 0;
  check(rigiMemGetInfo(resolve_device(device), &free_bytes, &total_bytes), "rigiMemGetInfo");
  return {free_bytes, total_bytes};
}

using Arguments = std::vector<std::tuple<std::string, std::string, bool>>;  // name, what it indexes, whether the size is allowed

IndexArgument index_argument(const std::tuple<std::string, std::string, bool>& argument) {
  const auto& [name, indexed, includes_size] = argument;
  return {name, indexed, /*wraps=*/false, includes_size};
}

/// The records of a kernel's op as an int32 tensor [1 + arguments, cores, 4] on the chip.
at::Tensor index_records_of(c10::DeviceIndex device, const std::string& op, const Arguments& arguments) {
  rigiDeviceProperties p{};
  check(rigiGetDeviceProperties(resolve_device(device), &p), "rigiGetDeviceProperties");
  std::vector<IndexArgument> all;
  for (const auto& argument : arguments) all.push_back(index_argument(argument));
  IndexRecord* records = index_records(device, op, all, p.cores);
  const std::array<int64_t, 3> sizes{static_cast<int64_t>(1 + all.size()), p.cores, 4};
  auto storage = c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), sizes[0] * sizes[1] * sizeof(IndexRecord),
                                                       c10::DataPtr(records, c10::Device(kRigi, device)), nullptr, /*resizable=*/false);
  auto impl = c10::make_intrusive<c10::TensorImpl>(c10::Storage(std::move(storage)), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                                   caffe2::TypeMeta::Make<int32_t>());
  impl->set_sizes_contiguous(sizes);
  return at::Tensor(std::move(impl));
}

std::string device_error(c10::DeviceIndex device) {
  return rigiDeviceGetError(resolve_device(device)) == RIGI_SUCCESS ? std::string() : rigiGetLastErrorString();
}

void reset_device(c10::DeviceIndex device) {
  check(rigiDeviceReset(resolve_device(device)), "rigiDeviceReset");
  forget_indices(device);
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "torch device 'rigi': native part";
  m.def("sdk_version", [] { return std::string(rigiGetVersion()); });
  m.def("device_count", [] { return static_cast<int>(device_count()); });
  m.def("current_device", [] { return static_cast<int>(current_device()); });
  m.def("exchange_device", [](int device) { return static_cast<int>(exchange_device(static_cast<c10::DeviceIndex>(device))); });
  m.def("in_bad_fork", &in_bad_fork);
  m.def("properties", &properties);
  m.def("memory_info", &memory_info);
  m.def("default_generator", [](int device) {
    return py::reinterpret_steal<py::object>(
        THPGenerator_initDefaultGenerator(default_generator(resolve_device(static_cast<c10::DeviceIndex>(device)))));
  });
  m.def("current_stream_handle", [](c10::DeviceIndex device) { return reinterpret_cast<uintptr_t>(stream_of(device)); });
  m.def("is_capturing", [](c10::DeviceIndex device) { return capturing(resolve_device(device)); });
  m.def("cpu_view", &cpu_view, Release());

  m.def("cycles", &cycles, Release());
  m.def("take_statistics", &take_statistics, Release());
  m.def("set_mode", &set_mode, Release());
  m.def("get_mode", [](c10::DeviceIndex device) { return static_cast<int>(device_mode(resolve_device(device))); });
  m.def("device_error", &device_error);
  m.def("reset_device", &reset_device, Release());
  m.def("index_records", &index_records_of);
  m.def("describe_index", [](const std::string& op, const std::tuple<std::string, std::string, bool>& argument, int64_t index,
                             int64_t size) { return describe_index(op, index_argument(argument), index, size); });
  m.def("wait_for_autograd", &wait_for_autograd, Release());
  m.def(
      "trace_start",
      [](c10::DeviceIndex device, const std::string& path) {
        check(rigiTraceStart(resolve_device(device), path.c_str()), "rigiTraceStart");
      },
      Release());
  m.def("trace_stop", [](c10::DeviceIndex device) { check(rigiTraceStop(resolve_device(device)), "rigiTraceStop"); }, Release());

  m.def("fallback_mode", [] { return std::string(mode_name(fallback_mode())); });
  m.def("set_fallback_mode", [](const std::string& mode) { set_fallback_mode(parse_mode(mode)); });
  m.def("fallback_counts", &fallback_counts);
  m.def("reset_fallback_counts", &reset_fallback_counts);
  m.def("refuse_backward", &refuse_backward);

  bind_distributed(m);
  take_whole();
}

}  // namespace rigi_torch
