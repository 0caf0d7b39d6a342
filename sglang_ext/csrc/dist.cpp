// The collectives of torch.distributed for chip tensors ("rigiccl"): a host backend (gloo) on CPU views of the chips' memory.

#include <torch/csrc/utils/pybind.h>
#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "alias.hpp"

namespace rigi_torch {
namespace {

using c10d::Work;
using Tensors = std::vector<at::Tensor>;
using TensorLists = std::vector<Tensors>;
using WorkPtr = c10::intrusive_ptr<Work>;

at::Tensor host(const at::Tensor& tensor) { return on_chip(tensor) ? cpu_view(tensor) : tensor; }

Tensors host(const Tensors& tensors) {
  Tensors result;
  for (const at::Tensor& tensor : tensors) result.push_back(host(tensor));
  return result;
}

TensorLists host(const TensorLists& lists) {
  TensorLists result;
  for (const Tensors& list : lists) result.push_back(host(list));
  return result;
}

/// Every collective waits for the chip when it is issued, then runs on the host. As with any backend, its results are there after
/// `wait()` on the work it returns.
class HostBackend final : public c10d::Backend {
 public:
  explicit HostBackend(c10::intrusive_ptr<c10d::Backend> inner) : Backend(inner->getRank(), inner->getSize()), inner_(std::move(inner)) {}

  const std::string getBackendName() const override { return "rigiccl"; }
  void setSequenceNumberForGroup() override { inner_->setSequenceNumberForGroup(); }
  uint64_t getSequenceNumberForGroup() override { return inner_->getSequenceNumberForGroup(); }

  WorkPtr broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    auto views = host(tensors);
    return inner_->broadcast(views, options);
  }
  WorkPtr allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    auto views = host(tensors);
    return inner_->allreduce(views, options);
  }
  WorkPtr allreduce_coalesced(Tensors& tensors, const c10d::AllreduceCoalescedOptions& options) override {
    auto views = host(tensors);
    return inner_->allreduce_coalesced(views, options);
  }
  WorkPtr reduce(Tensors& tensors, const c10d::ReduceOptions& options) override {
    auto views = host(tensors);
    return inner_->reduce(views, options);
  }
  WorkPtr allgather(TensorLists& outputs, Tensors& inputs, const c10d::AllgatherOptions& options) override {
    auto to = host(outputs);
    auto from = host(inputs);
    return inner_->allgather(to, from, options);
  }
  WorkPtr _allgather_base(at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& options) override {
    auto to = host(output), from = host(input);
    return inner_->_allgather_base(to, from, options);
  }
  WorkPtr gather(TensorLists& outputs, Tensors& inputs, const c10d::GatherOptions& options) override {
    auto to = host(outputs);
    auto from = host(inputs);
    return inner_->gather(to, from, options);
  }
  WorkPtr scatter(Tensors& outputs, TensorLists& inputs, const c10d::ScatterOptions& options) override {
    auto to = host(outputs);
    auto from = host(inputs);
    return inner_->scatter(to, from, options);
  }
  WorkPtr reduce_scatter(Tensors& outputs, TensorLists& inputs, const c10d::ReduceScatterOptions& options) override {
    auto to = host(outputs);
    auto from = host(inputs);
    return inner_->reduce_scatter(to, from, options);
  }
  WorkPtr _reduce_scatter_base(at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions& options) override {
    auto to = host(output), from = host(input);
    return inner_->_reduce_scatter_base(to, from, options);
  }
  WorkPtr alltoall_base(at::Tensor& output, at::Tensor& input, std::vector<int64_t>& output_splits, std::vector<int64_t>& input_splits,
                        const c10d::AllToAllOptions& options) override {
    auto to = host(output), from = host(input);
    return inner_->alltoall_base(to, from, output_splits, input_splits, options);
  }
  WorkPtr send(Tensors& tensors, int destination, int tag) override {
    auto views = host(tensors);
    return inner_->send(views, destination, tag);
  }
  WorkPtr recv(Tensors& tensors, int source, int tag) override {
    auto views = host(tensors);
    return inner_->recv(views, source, tag);
  }
  WorkPtr barrier(const c10d::BarrierOptions& options) override { return inner_->barrier(options); }

 private:
  c10::intrusive_ptr<c10d::Backend> inner_;
};

}  // namespace

void bind_distributed(pybind11::module& module) {
  namespace py = pybind11;
  module.def("init_distributed", [module]() mutable {
    if (py::hasattr(module, "HostBackend")) return;
    py::module::import("torch.distributed.distributed_c10d");  // defines the base class
    py::class_<HostBackend, c10d::Backend, c10::intrusive_ptr<HostBackend>>(module, "HostBackend")
        .def(py::init<c10::intrusive_ptr<c10d::Backend>>(), py::arg("inner"));
  });
}

}  // namespace rigi_torch
