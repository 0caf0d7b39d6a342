"""Graphs: work captured once and submitted again and again as one piece; and what collectives between chips cost.

with sdk_sim.capture(stream) as captured:      # launches and copies on `stream` are noted, not run
    sdk_sim.launch(kernel, [x, y, 4096], stream)
graph = captured.graph.instantiate()
graph.set_args(0, [x2, y2, 4096])              # node 0 from the next launch on
graph.launch(stream)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from . import _rigi

if TYPE_CHECKING:
    from .api import Buffer, Stream

NodeKind = Literal["kernel", "copy", "set", "host", "record", "wait"]
_KINDS: tuple[NodeKind, ...] = ("kernel", "copy", "set", "host", "record", "wait")
Collective = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
_COLLECTIVES: tuple[Collective, ...] = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")
Algorithm = Literal["ring", "tree"]
_ALGORITHMS: tuple[Algorithm, ...] = ("ring", "tree")


@dataclass(frozen=True)
class Node:
    """What a capture noted. `stream` 0 is where it began; `name` and `num_args` are a kernel's, `nbytes` a copy's or a fill's."""

    kind: NodeKind
    stream: int
    name: str
    num_args: int
    nbytes: int


class Graph:
    """What was captured, in order. Keeps nothing alive that it names: buffers must stay allocated while it is used."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    @property
    def nodes(self) -> list[Node]:
        """The nodes in the order of capture."""
        facts = [_rigi.graph_node(self.handle, i) for i in range(_rigi.graph_node_count(self.handle))]
        return [Node(_KINDS[f["kind"]], f["stream"], f["name"], f["num_args"], f["bytes"]) for f in facts]

    def instantiate(self) -> GraphExec:
        """The same with arguments of its own, ready to launch."""
        return GraphExec(_rigi.graph_instantiate(self.handle))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            _rigi.graph_destroy(self.handle)


class GraphExec:
    """A graph that can be launched. A change is for launches from then on; those already submitted keep what they had."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def set_args(self, node: int, args: Sequence[Buffer | int | float]) -> None:
        """New arguments for the launch of a module's kernel, as many as it takes. A Buffer stands for its address."""
        _rigi.graph_exec_set_args(self.handle, node, [a if isinstance(a, (int, float)) else a.address for a in args])

    def set_copy(self, node: int, dst: int, src: int, nbytes: int) -> None:
        """Other addresses and another size for a copy."""
        _rigi.graph_exec_set_copy(self.handle, node, dst, src, nbytes)

    def launch(self, stream: Stream | None = None) -> None:
        """Submits the whole graph on a stream of its device (default: device 0's). Each launch in it pays the graph launch cost."""
        _rigi.graph_launch(self.handle, 0 if stream is None else stream.handle)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            _rigi.graph_exec_destroy(self.handle)


class Captured:
    """What `capture` gives: `graph` is there once its block has ended."""

    def __init__(self) -> None:
        self._graph: Graph | None = None

    @property
    def graph(self) -> Graph:
        if self._graph is None:
            raise ValueError("the capture has not ended, or was given up because of an error")
        return self._graph


@contextlib.contextmanager
def capture(stream: Stream | None = None) -> Iterator[Captured]:
    """Notes the work submitted on the stream inside the block instead of running it. If the block raises, the capture is dropped."""
    handle = 0 if stream is None else stream.handle
    _rigi.stream_begin_capture(handle)
    captured = Captured()
    try:
        yield captured
    except BaseException:
        with contextlib.suppress(_rigi.RigiError):
            _rigi.graph_destroy(_rigi.stream_end_capture(handle))
        raise
    captured._graph = Graph(_rigi.stream_end_capture(handle))


def collective_cycles(collective: Collective, algorithm: Algorithm, devices: int, nbytes: int) -> int:
    """Cycles of a collective over `devices` chips, by the cost model of the manual's section on links.

    `nbytes` is what one device holds before an all-reduce, a reduce-scatter or an all-to-all, and after an all-gather.
    """
    if collective not in _COLLECTIVES or algorithm not in _ALGORITHMS:
        raise ValueError(f"{collective!r} by {algorithm!r}; allowed: {', '.join(_COLLECTIVES)} by {' or '.join(_ALGORITHMS)}")
    return _rigi.collective_cycles(_COLLECTIVES.index(collective), _ALGORITHMS.index(algorithm), devices, nbytes)
