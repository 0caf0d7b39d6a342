"""Scratchpad of a kernel made by rules: buffers are taken, given back and taken again, by every stage.

A buffer is `slots` blocks of one size, so that an engine fills one while another still reads the other; which block a turn of the work
loop uses is the frame's `slot`. The scoreboard keeps the rest in order.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import DataType, tirx

SLOTS = 2
SCOPE = "shared.sram"


class Sram:
    """`sizes` maps a size class ("one", "row", "col", "full", ...) to elements a block."""

    def __init__(self, sizes: dict[str, int]):
        self.sizes = sizes
        self.buffers: list[Any] = []
        self._free: dict[tuple[str, int], list[Any]] = {}

    def take(self, name: str, dtype: str, size: str) -> Any:
        elements = self.sizes[size]
        waiting = self._free.get((dtype, elements))
        if waiting:
            return waiting.pop()
        buffer = tirx.decl_buffer((SLOTS, elements), dtype, name, scope=SCOPE)
        self.buffers.append(buffer)
        return buffer

    def give(self, buffer: Any) -> None:
        self._free.setdefault((str(buffer.dtype), int(buffer.shape[-1].value)), []).append(buffer)

    def state(self) -> Any:
        """For `back_to`: what is taken now."""
        return list(self.buffers), {key: list(buffers) for key, buffers in self._free.items()}

    def back_to(self, state: Any) -> None:
        self.buffers, self._free = list(state[0]), {key: list(buffers) for key, buffers in state[1].items()}

    @property
    def bytes(self) -> int:
        return sum(-(-prod(int(n.value) for n in b.shape) * DataType(str(b.dtype)).bits // 8 // 64) * 64 for b in self.buffers)
