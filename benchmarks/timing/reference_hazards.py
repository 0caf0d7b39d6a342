"""The scoreboard of the reference schedule: which bytes of the scratchpad instructions share, exactly. See reference_schedule.py."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence


class Spans:
    """Interned SRAM spans. `overlap(a, b)` is exact to the byte, also for interleaved strided blocks."""

    def __init__(self) -> None:
        self.low: list[int] = []
        self.high: list[int] = []
        self.shape: list[tuple[int, int, int, int] | None] = []  # (low, row bytes, rows, stride), None if contiguous
        self._ids: dict[tuple[int, int, int, int], int] = {}
        self._known: dict[tuple[int, int], bool] = {}

    def intern(self, span: Sequence[int]) -> int | None:
        """The number of a span `[addr, row_bytes, rows, stride]`, None if it is empty."""
        addr, row_bytes, rows, stride = span
        if row_bytes <= 0 or rows <= 0:
            return None
        if stride < 0:
            addr, stride = addr + (rows - 1) * stride, -stride
        high = addr + (rows - 1) * stride + row_bytes
        if rows == 1 or stride <= row_bytes:  # the rows touch or overlap: one run of bytes
            addr, row_bytes, rows, stride = addr, high - addr, 1, 0
        key = (addr, row_bytes, rows, stride)
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self.low)
            self.low.append(addr)
            self.high.append(high)
            self.shape.append(None if rows == 1 else key)
        return number

    def overlap(self, a: int, b: int) -> bool:
        if self.low[a] >= self.high[b] or self.low[b] >= self.high[a]:
            return False
        x, y = self.shape[a], self.shape[b]
        if x is None and y is None:
            return True
        known = self._known.get((a, b))
        if known is None:
            if x is None or (y is not None and x[2] > y[2]):
                a, b, x, y = b, a, y, x
            assert x is not None
            known = self._known[(a, b)] = self._known[(b, a)] = (
                self._hits(x, self.low[b], self.high[b]) if y is None else any(self._hits(y, r, r + x[1]) for r in self._rows(x))
            )
        return known

    @staticmethod
    def _rows(x: tuple[int, int, int, int]) -> range:
        return range(x[0], x[0] + x[2] * x[3], x[3])

    @staticmethod
    def _hits(x: tuple[int, int, int, int], low: int, high: int) -> bool:
        """Whether some row of x meets [low, high)."""
        addr, row_bytes, rows, stride = x
        first = max(0, (low - addr - row_bytes) // stride + 1)  # the first row that ends after low
        return first < rows and addr + first * stride < high


class Scoreboard:
    """Which earlier instructions of one core the next one has to wait for.

    An instruction is forgotten once so many younger ones of its engine were seen that, by the queue depth (rule 1) and the
    order within the engine (rule 2), nothing later can even be issued before its result is there. The windows follow from
    the shortest instruction of each engine in this launch. An older access to the very same span is replaced by a
    younger one that cannot finish earlier.
    """

    def __init__(self, spans: Spans, keep_reads: dict[str, int], keep_writes: dict[str, int]) -> None:
        self._spans = spans
        self._writers: dict[int, int] = {}  # span -> youngest writer
        self._readers: dict[tuple[str, int], int] = {}  # (engine, span) -> youngest reader
        self._recent: dict[tuple[str, bool], deque[tuple[int, list[int]]]] = defaultdict(deque)
        self._keep = {True: keep_writes, False: keep_reads}

    def meet(self, reads: list[int], writes: list[int]) -> tuple[set[int], set[int]]:
        """(instructions whose `done`, instructions whose `end`) the next one waits for."""
        overlap = self._spans.overlap
        on_done = {i for s in {*reads, *writes} for t, i in self._writers.items() if overlap(s, t)}
        on_end = {i for s in writes for (_, t), i in self._readers.items() if overlap(s, t)}
        return on_done, on_end

    def add(self, i: int, engine: str, reads: list[int], writes: list[int]) -> None:
        self._writers.update((s, i) for s in writes)
        self._readers.update(((engine, s), i) for s in reads)
        for is_write, spans in ((True, writes), (False, reads)):
            recent = self._recent[engine, is_write]
            recent.append((i, spans))
            if len(recent) > self._keep[is_write][engine]:
                old, gone = recent.popleft()
                for s in gone:
                    if is_write and self._writers.get(s) == old:
                        del self._writers[s]
                    elif not is_write and self._readers.get((engine, s)) == old:
                        del self._readers[engine, s]
