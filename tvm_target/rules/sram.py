"""Scratchpad of a kernel made by rules: buffers are taken, given back and taken again, by every stage.

A buffer is SLOTS blocks of one size, so that loads run ahead of what computes. Which block a turn of the work loop uses is the frame's
`slot`; the scoreboard keeps the rest in order.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import DataType, tirx

SLOTS = 4
SCOPE = "shared.sram"

LINE = 64  # bytes: where a block may begin


def _lines(elements: int, dtype: str) -> int:
    """So many elements, or a few more, that the next block begins at a line."""
    whole = LINE * 8 // DataType(dtype).bits
    return -(-elements // whole) * whole


class Sram:
    """`sizes` maps a size class ("one", "row", "col", "full") to elements a block."""

    def __init__(self, sizes: dict[str, int], slots: int = SLOTS):
        self.sizes, self.slots = sizes, slots
        self.buffers: list[Any] = []
        self._free: dict[tuple[str, int, int], list[Any]] = {}

    def sized(self, sizes: dict[str, int], slots: int) -> Sram:
        """The same scratchpad with other blocks."""
        other = Sram(sizes, slots)
        other.buffers, other._free = self.buffers, self._free
        return other

    def take(self, name: str, dtype: str, size: str) -> Any:
        elements = _lines(self.sizes[size], dtype)
        waiting = self._free.get((dtype, self.slots, elements))
        if waiting:
            return waiting.pop()
        buffer = tirx.decl_buffer((self.slots, elements), dtype, name, scope=SCOPE)
        self.buffers.append(buffer)
        return buffer

    def give(self, buffer: Any) -> None:
        slots, elements = (int(n.value) for n in buffer.shape)
        self._free.setdefault((str(buffer.dtype), slots, elements), []).append(buffer)

    def state(self) -> Any:
        """For `back_to`: what is taken now."""
        return list(self.buffers), {key: list(buffers) for key, buffers in self._free.items()}

    def back_to(self, state: Any) -> None:
        self.buffers[:] = state[0]
        self._free.clear()
        self._free.update({key: list(buffers) for key, buffers in state[1].items()})

    @property
    def bytes(self) -> int:
        return sum(-(-prod(int(n.value) for n in b.shape) * DataType(str(b.dtype)).bits // 8 // LINE) * LINE for b in self.buffers)
