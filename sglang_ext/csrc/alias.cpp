#include "alias.hpp"

#include <ATen/EmptyTensor.h>

#include <cstring>

#include "memory.hpp"

namespace rigi_torch {
namespace {

at::Tensor make_tensor(c10::Storage storage, c10::DispatchKey key, const at::Tensor& like) {
  c10::DispatchKeySet keys(key);
  if (like._is_zerotensor()) keys = keys.add(c10::DispatchKey::ZeroTensor);  // or its missing memory would be read
  auto impl = c10::make_intrusive<c10::TensorImpl>(std::move(storage), keys, like.dtype());
  impl->set_sizes_and_strides(like.sizes(), like.strides(), like.storage_offset());
  const c10::TensorImpl* source = like.unsafeGetTensorImpl();
  if (source->is_wrapped_number()) impl->set_wrapped_number(true);
  if (source->is_conj()) impl->_set_conj(true);
  if (source->is_neg()) impl->_set_neg(true);
  return at::Tensor(std::move(impl));
}

c10::Storage make_storage(size_t bytes, c10::DataPtr data, c10::Allocator* allocator) {
  return c10::Storage(c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(), bytes, std::move(data), allocator,
                                                            /*resizable=*/allocator != nullptr));
}

void release_storage(void* held) { delete static_cast<c10::Storage*>(held); }

/// Strict mode cannot see what the host writes through a pointer.
void mark_written(const void* first, size_t bytes) { check(rigiMemMarkWritten(first, bytes), "rigiMemMarkWritten"); }
void mark_written(const at::Tensor& tensor) {
  mark_written(tensor.const_data_ptr(), at::detail::computeStorageNbytes(tensor.sizes(), tensor.strides(), tensor.element_size()));
}

/// Chip memory with a copy of `bytes` host bytes.
c10::DataPtr upload(const void* source, size_t bytes, c10::DeviceIndex device) {
  c10::DataPtr data = aliasing_allocator(device)->allocate(bytes);
  std::memcpy(data.get(), source, bytes);
  mark_written(data.get(), bytes);
  data.unsafe_set_device(c10::Device(kRigi, device));
  return data;
}

}  // namespace

c10::Storage AliasScope::alias_storage(const c10::Storage& chip) {
  for (const StoragePair& pair : storages_)
    if (pair.chip.unsafeGetStorageImpl() == chip.unsafeGetStorageImpl()) return pair.cpu;
  c10::Storage cpu = make_storage(chip.nbytes(), c10::DataPtr(chip.unsafeGetStorageImpl()->mutable_data(), c10::Device(c10::kCPU)),
                                  aliasing_allocator(device_));
  storages_.push_back({chip, cpu});
  return cpu;
}

at::Tensor AliasScope::to_cpu(const at::Tensor& tensor, bool written) {
  for (Pair& pair : pairs_) {
    if (!pair.chip.is_same(tensor)) continue;
    pair.written |= written;
    return pair.cpu;
  }
  TORCH_CHECK(tensor.has_storage() && tensor.layout() == at::kStrided, "rigi: only dense tensors live on the chip, got layout ",
              tensor.layout());
  at::Tensor cpu = make_tensor(alias_storage(tensor.storage()), c10::DispatchKey::CPU, tensor);
  pairs_.push_back({tensor, cpu, written});
  return cpu;
}

c10::Storage AliasScope::adopt(const c10::Storage& cpu) {
  const size_t bytes = cpu.nbytes();
  const bool memory = bytes != 0 && cpu.data() != nullptr;  // a tensor of zeros has none
  c10::DataPtr data = memory ? upload(cpu.data(), bytes, device_) : c10::DataPtr(nullptr, c10::Device(kRigi, device_));
  c10::Storage chip = make_storage(bytes, std::move(data), chip_allocator());
  storages_.push_back({chip, cpu});  // results that share a storage go on sharing it
  return chip;
}

at::Tensor AliasScope::to_chip(const at::Tensor& result) {
  if (!result.defined() || result.device().type() != c10::kCPU) return result;
  for (const Pair& pair : pairs_)
    if (pair.cpu.is_same(result)) return pair.chip;
  TORCH_CHECK_NOT_IMPLEMENTED(result.has_storage() && result.layout() == at::kStrided && !result.is_quantized(),
                              "rigi: an op gave a result of layout ", result.layout(), " and dtype ", result.scalar_type(),
                              "; only dense tensors of plain dtypes live on the chip. Run the op on the CPU: .cpu()");
  for (const StoragePair& pair : storages_)
    if (pair.cpu.unsafeGetStorageImpl() == result.storage().unsafeGetStorageImpl())
      return make_tensor(pair.chip, c10::DispatchKey::PrivateUse1, result);
  return make_tensor(adopt(result.storage()), c10::DispatchKey::PrivateUse1, result);
}

void AliasScope::write_back() {
  for (const StoragePair& pair : storages_) {
    c10::StorageImpl* chip = pair.chip.unsafeGetStorageImpl();
    c10::StorageImpl* cpu = pair.cpu.unsafeGetStorageImpl();
    if (C10_LIKELY(cpu->data() == chip->data())) continue;
    const size_t bytes = cpu->nbytes();
    c10::DataPtr data = cpu->set_data_ptr(c10::DataPtr(nullptr, c10::Device(c10::kCPU)));
    if (owns_chip_memory(data)) {
      mark_written(data.get(), bytes);
      data.unsafe_set_device(c10::Device(kRigi, device_));
    } else {
      data = upload(data.get(), bytes, device_);
    }
    chip->set_data_ptr_noswap(std::move(data));
    chip->set_nbytes(bytes);
  }
  for (const Pair& pair : pairs_) {
    if (C10_UNLIKELY(pair.chip.sizes() != pair.cpu.sizes() || pair.chip.strides() != pair.cpu.strides()))
      pair.chip.unsafeGetTensorImpl()->set_sizes_and_strides(pair.cpu.sizes(), pair.cpu.strides(), pair.cpu.storage_offset());
    if (pair.written) mark_written(pair.chip);
  }
}

at::Tensor cpu_view(const at::Tensor& tensor) {
  TORCH_CHECK(on_chip(tensor), "cpu_view: expected a tensor on rigi, got one on ", tensor.device());
  synchronize(tensor.device().index());
  mark_written(tensor);  // its holder may write
  auto* held = new c10::Storage(tensor.storage());
  c10::DataPtr data(held->unsafeGetStorageImpl()->mutable_data(), held, &release_storage, c10::Device(c10::kCPU));
  return make_tensor(make_storage(held->nbytes(), std::move(data), nullptr), c10::DispatchKey::CPU, tensor);
}

}  // namespace rigi_torch
