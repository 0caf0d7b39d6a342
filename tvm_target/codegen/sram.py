"""Scratchpad allocation: every buffer has its own place for the whole kernel, in order of appearance, on 64-byte lines.

Nothing shares memory: other cores may send or multicast into a buffer while this core is still busy with another one, and a shared place
would make engines wait for each other. A kernel that does not fit is refused with the list of its buffers.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from tvm.ir import prim

from .context import Kernel, bits_of

# Element stores take two lines at the bottom: a spare one, and one where an element waits that goes to HBM.
SLOT_LINES = 2


@dataclass(frozen=True)
class Place:
    name: str
    offset: int
    bytes: int
    shape: tuple[int, ...]
    dtype: str


class SramPlan:
    """Hands out the scratchpad of one kernel."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.places: list[Place] = []
        self.used = 0

    def reserve_elements(self) -> None:
        """The lines that element stores need, at fixed places: a spare one and a slot."""
        self.places.append(
            Place("element_slot", 0, SLOT_LINES * self.kernel.chip.line_bytes, (SLOT_LINES * self.kernel.chip.line_bytes,), "uint8")
        )
        self.used = SLOT_LINES * self.kernel.chip.line_bytes

    def add(self, buffer: Any) -> None:
        shape = tuple(int(n.value) if isinstance(n, prim.IntImm) else -1 for n in buffer.shape)
        if -1 in shape:
            self.kernel.fail(
                f"the SRAM buffer {buffer.name!r} has a size known only at run time, {list(buffer.shape)}; allocate the largest it may need"
            )
        dtype = str(buffer.dtype)
        line = self.kernel.chip.line_bytes
        strides = [int(s.value) for s in buffer.strides] if buffer.strides else []
        elements = max(1 + sum((n - 1) * s for n, s in zip(shape, strides)), 0) if strides else prod(shape)
        size = (elements * bits_of(dtype) + 7) // 8
        name = self.kernel.declare(buffer)
        self.kernel.add_buffer(buffer, "sram", name)
        self.places.append(Place(name, self.used, size, shape, dtype))
        self.used += -(-size // line) * line

    def check(self) -> None:
        limit = self.kernel.chip.sram_bytes
        if self.used <= limit:
            return
        widest = max(len(p.name) for p in self.places)
        lines = [f"  {p.name:<{widest}}  {p.bytes:>10,} bytes  {p.dtype}{list(p.shape)}" for p in self.places]
        self.kernel.fail(
            f"its buffers need {self.used:,} bytes of SRAM, but a core of {self.kernel.chip.name} has {limit:,}:\n"
            + "\n".join(lines)
            + f"\n{self.used - limit:,} bytes too many: choose smaller tiles or fewer buffers"
        )

    def declarations(self) -> list[str]:
        lines = []
        for p in self.places:
            left = f"constexpr int64_t {p.name} = {p.offset};"
            lines.append(f"{left:<40} // {p.dtype}[{', '.join(map(str, p.shape))}], {p.bytes} bytes")
        return lines
