"""Which pages of the KV cache are free: a list on the host, as the lengths it is asked with are.

SGLang's paged allocator keeps the list on the device and computes slots there with a dozen integer ops an allocation, which this
chip would hand to the host one by one. Here one copy brings the finished slots to the chip.
"""

from typing import Any

import torch
from sglang.srt.mem_cache.allocator.paged import PagedTokenToKVPoolAllocator, alloc_decode_naive, alloc_extend_naive


class RigiPageAllocator(PagedTokenToKVPoolAllocator):
    """Hands out slots of `page_size`-token pages: `free_pages` and all arithmetic on the host, results [tokens] int64 on the chip."""

    def clear(self) -> None:
        super().clear()
        self.free_pages = torch.arange(1, self.num_pages + 1, dtype=torch.int64)

    def alloc(self, need_size: int) -> torch.Tensor | None:
        pages = need_size // self.page_size
        if pages > len(self.free_pages):
            self.merge_and_sort_free()
        if pages > len(self.free_pages):
            return None
        taken, self.free_pages = self.free_pages[:pages], self.free_pages[pages:]
        return self._upload((taken[:, None] * self.page_size + torch.arange(self.page_size)).reshape(-1))

    def alloc_extend(
        self,
        prefix_lens: torch.Tensor,
        prefix_lens_cpu: torch.Tensor,
        seq_lens: torch.Tensor,
        seq_lens_cpu: torch.Tensor,
        last_loc: torch.Tensor,
        extend_num_tokens: int,
        num_new_pages: int | None = None,
    ) -> torch.Tensor | None:
        """Slots of the new tokens of each request, in order; None if the pool is too small. A page begun by the prefix is filled first."""
        page = self.page_size
        needed = int(((seq_lens_cpu + page - 1) // page - (prefix_lens_cpu + page - 1) // page).sum())
        if not self._have(needed):
            return None
        aligned = not bool((prefix_lens_cpu % page).any())
        last = torch.zeros(len(prefix_lens_cpu), dtype=torch.int64) if aligned else last_loc.cpu()  # unused where aligned
        slots = torch.empty(extend_num_tokens, dtype=torch.int64)
        alloc_extend_naive(prefix_lens_cpu, seq_lens_cpu, last, self.free_pages, slots, page, "cpu")
        self.free_pages = self.free_pages[needed:]
        return self._upload(slots)

    def alloc_decode(self, seq_lens: torch.Tensor, seq_lens_cpu: torch.Tensor, last_loc: torch.Tensor) -> torch.Tensor | None:
        """One slot a request: the one after `last_loc`, or the first of a new page. seq_lens count the new token."""
        needed = int((seq_lens_cpu % self.page_size == 1).sum())
        if not needed:
            return last_loc + 1 if last_loc.dtype == torch.int64 else last_loc.to(torch.int64) + 1
        if not self._have(needed):
            return None
        slots = torch.empty(len(seq_lens_cpu), dtype=torch.int64)
        last = last_loc.cpu() if needed < len(seq_lens_cpu) else torch.zeros(len(seq_lens_cpu), dtype=torch.int64)
        alloc_decode_naive(seq_lens_cpu, last, self.free_pages, slots, self.page_size, needed)
        self.free_pages = self.free_pages[needed:]
        return self._upload(slots)

    def free(self, free_index: torch.Tensor) -> None:
        super().free(free_index.cpu())

    def free_segment(self, free_index: torch.Tensor, *, start_pos: int) -> None:
        super().free_segment(free_index.cpu(), start_pos=start_pos)

    def free_page_ids(self, page_ids: torch.Tensor) -> None:
        super().free_page_ids(page_ids.cpu())

    def _have(self, pages: int) -> bool:
        if pages > len(self.free_pages):
            self.merge_and_sort_free()
        return pages <= len(self.free_pages)

    def _upload(self, slots: torch.Tensor) -> Any:
        return slots.pin_memory().to(self.device, non_blocking=True)
