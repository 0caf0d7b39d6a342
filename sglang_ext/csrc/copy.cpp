#include "copy.hpp"

#include <ATen/EmptyTensor.h>
#include <ATen/ExpandUtils.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/fill.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "alias.hpp"
#include "fallback.hpp"
#include "memory.hpp"
#include "strided.hpp"

namespace rigi_torch {
namespace {

// Pageable host memory up to this size is copied aside, so that the caller need not wait for the device to read it.
constexpr size_t kStageBytes = size_t{1} << 20;
// A strided copy to or from the host, or another chip, is made of at most this many contiguous SDK copies; more would cost more than the
// fallback.
constexpr size_t kMaxPieces = 32;

bool same_kind(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && a.is_conj() == b.is_conj() && a.is_neg() == b.is_neg();
}

void submit(char* dst, const char* src, const Pieces& pieces, rigiStream_t stream) {
  for (const auto& [to, from] : pieces.offsets) check(rigiMemcpyAsync(dst + to, src + from, pieces.bytes, stream), "rigiMemcpyAsync");
}

char* base(const at::Tensor& tensor) { return static_cast<char*>(tensor.data_ptr()); }

/// Host to chip. `src` has the destination's dtype and sizes, and `pieces` fits them.
void upload(const at::Tensor& dst, const at::Tensor& src, const Pieces& pieces, bool non_blocking) {
  const c10::DeviceIndex device = dst.device().index();
  rigiStream_t stream = current_stream(device);
  if (non_blocking && is_pinned(src.data_ptr())) {
    pinned_use(src.data_ptr(), device);
    submit(base(dst), base(src), pieces, stream);
  } else if (capturing(device)) {
    TORCH_CHECK(false,
                "a copy from pageable host memory cannot be captured: a graph reads the host at each replay. Use pinned memory "
                "(tensor.pin_memory()) with non_blocking=True, and keep it");
  } else if (pieces.offsets.size() == 1 && pieces.bytes <= kStageBytes) {
    void* stage = std::malloc(pieces.bytes);
    TORCH_CHECK_WITH(OutOfMemoryError, stage != nullptr, "rigi: no host memory for a copy of ", pieces.bytes, " bytes");
    std::memcpy(stage, src.data_ptr(), pieces.bytes);
    const rigiStatus copied = rigiMemcpyAsync(dst.data_ptr(), stage, pieces.bytes, stream);
    const rigiStatus queued = copied == RIGI_SUCCESS ? rigiLaunchHostFunc(stream, [](void* block) { std::free(block); }, stage) : copied;
    if (queued != RIGI_SUCCESS) {
      if (copied == RIGI_SUCCESS) rigiStreamSynchronize(stream);
      std::free(stage);
      raise(queued, "rigiMemcpyAsync");
    }
  } else {
    submit(base(dst), base(src), pieces, stream);
    synchronize(device, stream);
  }
}

/// Chip to host, into a tensor of the same dtype and sizes.
void download(const at::Tensor& dst, const at::Tensor& src, const Pieces& pieces, bool non_blocking) {
  const c10::DeviceIndex device = src.device().index();
  rigiStream_t stream = current_stream(device);
  if (non_blocking && is_pinned(dst.data_ptr())) {
    pinned_use(dst.data_ptr(), device);
    submit(base(dst), base(src), pieces, stream);
    return;
  }
  submit(base(dst), base(src), pieces, stream);
  synchronize(device, stream);
}

/// The bytes from a tensor's first element to its last.
std::pair<const char*, const char*> span(const at::Tensor& tensor) {
  int64_t last = 0;
  for (int64_t i = 0; i < tensor.dim(); i++) last += (tensor.size(i) - 1) * tensor.stride(i);
  const char* first = static_cast<const char*>(tensor.const_data_ptr());
  return {first, first + (last + 1) * tensor.element_size()};
}

/// The chip tensor's elements in a host tensor of the same dtype, strides and sizes: the whole span they lie in is copied. None if the
/// span is much larger than the elements.
std::optional<at::Tensor> download_span(const at::Tensor& src) {
  const auto [first, end] = span(src);
  const size_t bytes = end - first;
  if (bytes > std::max<size_t>(4 * src.numel() * src.element_size(), 64 * 1024)) return std::nullopt;
  at::Tensor host = at::empty({static_cast<int64_t>(bytes / src.element_size())}, src.options().device(c10::kCPU));
  const c10::DeviceIndex device = src.device().index();
  rigiStream_t stream = current_stream(device);
  check(rigiMemcpyAsync(host.data_ptr(), src.data_ptr(), bytes, stream), "rigiMemcpyAsync");
  synchronize(device, stream);
  at::Tensor view = host.as_strided(src.sizes(), src.strides(), 0);
  if (src.is_conj()) view.unsafeGetTensorImpl()->_set_conj(true);
  if (src.is_neg()) view.unsafeGetTensorImpl()->_set_neg(true);
  return view;
}

/// Chip to another chip, ordered with the work submitted to either.
void transfer(const at::Tensor& dst, const at::Tensor& src, const Pieces& pieces) {
  rigiStream_t from = current_stream(src.device().index()), to = current_stream(dst.device().index());
  const auto order = [](rigiStream_t first, rigiStream_t second) {
    rigiEvent_t event = nullptr;
    check(rigiEventCreate(&event), "rigiEventCreate");
    const rigiStatus recorded = rigiEventRecord(event, first);
    const rigiStatus waited = recorded == RIGI_SUCCESS ? rigiStreamWaitEvent(second, event) : recorded;
    rigiEventDestroy(event);
    check(waited, "rigiStreamWaitEvent");
  };
  order(from, to);
  for (const auto& [dst_offset, src_offset] : pieces.offsets)
    check(rigiMemcpyPeerAsync(base(dst) + dst_offset, base(src) + src_offset, pieces.bytes, to), "rigiMemcpyPeerAsync");
  order(to, from);  // the source may be overwritten only after this
}

/// The copies that no SDK copy can make, on the host, and counted.
void copy_on_host(const at::Tensor& src, const at::Tensor& dst, bool converts) {
  admit_fallback(converts ? "aten::_copy_from(convert)" : "aten::_copy_from(strided)",
                 [&] { return c10::str("self ", describe(src), ", dst ", describe(dst)); });
  for (const at::Tensor* tensor : {&src, &dst})
    if (on_chip(*tensor)) synchronize(tensor->device().index());
  if (on_chip(dst) && dst.nbytes() > (size_t{64} << 10) && device_mode(dst.device().index()) == RIGI_TIMING_ONLY) return;
  AliasScope scope(on_chip(dst) ? dst.device().index() : src.device().index());
  at::AutoDispatchBelowADInplaceOrView below_autograd;
  at::Tensor target = on_chip(dst) ? scope.to_cpu(dst, true) : dst;
  target.copy_(on_chip(src) ? scope.to_cpu(src, false) : src);
  scope.write_back();
}

void copy_to_chip(const at::Tensor& src, const at::Tensor& dst, bool non_blocking) {
  at::Tensor host = src;
  std::optional<Pieces> pieces;
  if (same_kind(src, dst)) pieces = cut(dst, host, kMaxPieces);
  if (!pieces) {  // a host tensor is converted and laid out on the host, before it leaves
    host = at::empty(dst.sizes(), dst.options().device(c10::kCPU));
    host.copy_(src);
    if (dst.is_conj() || dst.is_neg()) return copy_on_host(src, dst, false);
    pieces = cut(dst, host, kMaxPieces);
  }
  if (!pieces) return copy_on_host(src, dst, false);
  upload(dst, host, *pieces, non_blocking);
}

void copy_to_host(const at::Tensor& src, const at::Tensor& dst, bool non_blocking) {
  if (same_kind(src, dst)) {
    if (const auto pieces = cut(dst, src, kMaxPieces)) return download(dst, src, *pieces, non_blocking);
  }
  if (const auto host = download_span(src)) {  // strides and dtype change on the host, once the bytes are there
    dst.copy_(*host);
    return;
  }
  copy_on_host(src, dst, false);
}

bool may_overlap(const at::Tensor& a, const at::Tensor& b) {
  const auto [a_first, a_end] = span(a);
  const auto [b_first, b_end] = span(b);
  return a_first < b_end && b_first < a_end;
}

void copy_on_chip(const at::Tensor& src, const at::Tensor& dst) {
  const bool same_device = src.device() == dst.device();
  const bool broadcasts = src.sizes() != dst.sizes();
  if (broadcasts) at::infer_size(dst.sizes(), src.sizes());  // its text for sizes that don't fit is that of copy_
  const at::Tensor source = broadcasts ? src.expand(dst.sizes()) : src;
  const bool overlaps = same_device && may_overlap(dst, source) && dst.data_ptr() != source.data_ptr();
  if (same_kind(source, dst) && !overlaps) {
    const auto pieces = cut(dst, source, same_device ? 1 : kMaxPieces);
    if (pieces && same_device) return submit(base(dst), base(source), *pieces, current_stream(dst.device().index()));
    if (pieces) return transfer(dst, source, *pieces);
  }
  if (same_device) {
    // What overlaps goes to torch's own checks, on the host.
    if (!may_overlap(dst, source) && copy_by_program(dst, source)) return;
    return copy_on_host(source, dst, source.scalar_type() != dst.scalar_type());
  }
  // Across chips the bytes travel as they are; dtype and strides change where they arrive.
  const at::Tensor packed = source.is_non_overlapping_and_dense() ? source : source.contiguous();
  const at::Tensor arrived = at::empty_strided(packed.sizes(), packed.strides(), packed.options().device(dst.device()));
  const auto pieces = cut(arrived, packed, kMaxPieces);
  TORCH_INTERNAL_ASSERT(pieces, "two dense tensors of the same strides are one piece");
  transfer(arrived, packed, *pieces);
  copy_on_chip(arrived, dst);
}

/// Sets all bytes of a dense tensor if one byte repeated makes the value (zeros, all ones, 8-bit types).
bool memset_bytes(const at::Tensor& self, const at::Tensor& pattern) {
  if (!self.is_non_overlapping_and_dense() || self.is_neg() || self.is_conj()) return false;
  const auto* bytes = static_cast<const unsigned char*>(pattern.const_data_ptr());
  if (std::any_of(bytes, bytes + self.element_size(), [&](unsigned char byte) { return byte != bytes[0]; })) return false;
  check(rigiMemsetAsync(self.data_ptr(), bytes[0], self.numel() * self.element_size(), current_stream(self.device().index())),
        "rigiMemsetAsync");
  return true;
}

}  // namespace

at::Tensor copy_from(const at::Tensor& src, const at::Tensor& dst, bool non_blocking) {
  TORCH_CHECK(src.defined() && dst.defined(), "copy_: both tensors must be defined");
  for (const at::Tensor* tensor : {&src, &dst}) {
    const auto type = tensor->device().type();
    TORCH_CHECK(type == kRigi || type == c10::kCPU, "rigi: no copy between rigi and ", type, "; go over the CPU");
  }
  if (dst.numel() == 0) return dst;
  at::AutoDispatchBelowADInplaceOrView below_autograd;
  if (!on_chip(src)) {
    copy_to_chip(src, dst, non_blocking);
  } else if (!on_chip(dst)) {
    copy_to_host(src, dst, non_blocking);
  } else {
    copy_on_chip(src, dst);
  }
  return dst;
}

at::Scalar read_scalar(const at::Tensor& self) {
  TORCH_CHECK(self.numel() == 1, "a tensor with ", self.numel(), " elements cannot be converted to a scalar");
  const auto host = download_span(self);
  TORCH_INTERNAL_ASSERT(host.has_value());  // one element is its own span
  return host->item();
}

bool fill_on_chip(const at::Tensor& self, const at::Scalar& value) {
  if (self.numel() == 0) return true;
  // Raises where the CPU does, which looks at what the dtype can hold from two elements on.
  const at::Tensor pattern = at::empty({std::min<int64_t>(self.numel(), 2)}, self.options().device(c10::kCPU)).fill_(value);
  return memset_bytes(self, pattern) || fill_by_program(self, value);
}

}  // namespace rigi_torch
