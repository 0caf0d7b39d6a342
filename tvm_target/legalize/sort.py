"""Sort, argsort, top-k and median: rows in SRAM, put in order by the vector engine's top-k.

`topk` gives the k largest of a row, equals by rising index, NaN as the largest. For the smallest it gets integer keys of the opposite
order. int64 takes two rounds: by the low words, and what comes out by the high words. A row costs k * ceil(n / 256) cycles of one core;
rows are shared among the cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm import relax, tirx
from tvm.script import tirx as T

from .. import dialect as R
from .common import CORES, Legalize, call, cast, dtype_of, last, product, reshape, shape_of, static
from .vision import counted_argsort

# Types that are compared as they are, if the largest comes first; others by keys of int32.
DIRECT = ("float32", "float16", "bfloat16", "int32")


@dataclass(frozen=True)
class Room:
    """Elements of a unit of work, a row at least: of what is sorted, and of what comes out."""

    given: int
    taken: int


EVEN = Room(65536, 65536)
FEW = 4096  # a k up to this leaves room for longer rows
LONG = {False: Room(262144, FEW), True: Room(98304, FEW)}  # by whether keys need a place of their own
INT64 = Room(16384, 16384)


def emit(*calls: Any) -> None:
    """For Python functions that the script parser calls."""
    for one in calls:
        T.evaluate(one)


def _keys_apart(dtype: str, ascending: bool) -> bool:
    """Whether what is compared is not the elements themselves."""
    return ascending or dtype not in DIRECT


@cache
def order_kernel(dtype: str, ascending: bool, index: str, room: Room) -> tirx.PrimFunc:
    """x[m, n] -> the first k of each row in order, values[m, k], and where they stood, places[m, k]."""
    apart = _keys_apart(dtype, ascending)
    key = "int32" if apart else dtype
    words = 2 if index == "int64" else 1
    too_large = f"rows of up to {room.given} elements can be put in order, of which up to {room.taken} are kept"

    spare = room.taken < room.given  # the words of the result are no room for a test of every element

    def keys(Keys: Any, X: Any, Other: Any, Test: Any, rows: Any, n: Any) -> None:
        if not apart:
            return
        if "float" in dtype:  # the bits of fp32 as an integer of the same order, with one zero, and one NaN above infinity
            emit(R.mul(R.tile(Keys, dtype="float32"), X, 1.0, rows, n), R.sub(Other, -2147483648.0, Keys, rows, n))
            emit(R.lt(Test, Keys, 0, rows, n), R.select(Keys, Test, Other, Keys, rows, n))
        else:
            emit(R.cast(Keys, X, rows, n))
        if ascending:
            emit(R.sub(Keys, -1, Keys, rows, n))

    @T.prim_func
    def kernel(x: T.handle, values: T.handle, places: T.handle):
        m = T.int64()
        n = T.int64()
        k = T.int64()
        X = T.match_buffer(x, (m, n), dtype)
        Values = T.match_buffer(values, (m, k), dtype)
        Places = T.match_buffer(places, (m, k), index)
        assert n <= room.given and k <= room.taken, too_large
        core = T.launch_thread("blockIdx.x", CORES)
        Row = T.alloc_buffer((room.given,), dtype, scope="shared.sram")
        Apart = T.alloc_buffer((room.given if apart else 16,), key, scope="shared.sram")
        Other = T.alloc_buffer((room.given if apart else room.taken,), key, scope="shared.sram")
        Best = T.alloc_buffer((room.taken,), dtype, scope="shared.sram")
        At = T.alloc_buffer((room.taken,), "int32", scope="shared.sram")
        Words = T.alloc_buffer((words * room.taken,), "int32", scope="shared.sram")
        Spare = T.alloc_buffer((room.given if spare and apart else 16,), "int32", scope="shared.sram")
        step: T.let[T.int64] = rows_at_once(m, n, k, room)
        for i in T.serial(0, ((m + step - 1) // step - core + CORES - 1) // CORES):
            r: T.let[T.int64] = (i * CORES + core) * step
            rows: T.let[T.int64] = T.min(step, m - r)
            if n > 0:
                R.load(R.tile(Row[0], pitch=n), X[r, 0], rows, n)
                Test = Spare if spare else Words
                keys(R.tile(Apart[0], pitch=n), R.tile(Row[0], pitch=n), R.tile(Other[0], pitch=n), R.tile(Test[0], pitch=n), rows, n)
                Key = Apart if apart else Row
                R.topk(R.tile(Other[0], pitch=k), R.tile(At[0], pitch=k), R.tile(Key[0], pitch=n), rows, n, k)
                R.take(R.tile(Best[0], pitch=k), R.tile(Row[0], pitch=n), R.tile(At[0], pitch=k), rows, k, n)
                R.store(Values[r, 0], R.tile(Best[0], pitch=k), rows, k)
                store_places(Places, At, Words, r, rows, k, index)

    return kernel


def rows_at_once(m: Any, n: Any, k: Any, room: Room) -> Any:
    """Rows of a unit of work: what there is room for, but work for every core."""
    fit = T.min(room.given // T.max(n, T.int64(1)), room.taken // T.max(k, T.int64(1)))
    return T.max(T.min(fit, (m + CORES - 1) // CORES), T.int64(1))


def store_places(Places: Any, At: Any, Words: Any, r: Any, rows: Any, k: Any, index: str) -> None:
    """Indices to HBM, as int32 or int64."""
    if index == "int32":
        emit(R.store(Places[r, 0], R.tile(At[0], pitch=k), rows, k))
        return
    emit(R.fill(Words[0], 0, 1, 2 * rows * k), R.copy(R.tile(Words[0], pitch=2), R.tile(At[0], pitch=1), rows * k, 1))
    emit(R.store(R.tile(Places[r, 0], dtype="int32"), R.tile(Words[0], pitch=2 * k), rows, 2 * k))


@cache
def order_kernel_int64(ascending: bool, index: str) -> tirx.PrimFunc:
    """As `order_kernel`, for int64."""
    room = INT64
    too_large = f"rows of up to {room.given} int64 elements can be put in order"

    def word(Out: Any, Pairs: Any, At: Any, which: int, rows: Any, n: Any) -> None:
        """The low words (which = 0) or the high words of pairs."""
        emit(R.iota(R.tile(At[0], pitch=n), rows, n, start=which, col_step=2))
        emit(R.take(R.tile(Out[0], pitch=n), R.tile(Pairs[0], pitch=2 * n), R.tile(At[0], pitch=n), rows, n, 2 * n))

    def turned(Key: Any, rows: Any, n: Any) -> None:
        if ascending:
            emit(R.sub(R.tile(Key[0], pitch=n), -1, R.tile(Key[0], pitch=n), rows, n))

    @T.prim_func
    def kernel(x: T.handle, values: T.handle, places: T.handle):
        m = T.int64()
        n = T.int64()
        k = T.int64()
        X = T.match_buffer(x, (m, n), "int64")
        Values = T.match_buffer(values, (m, k), "int64")
        Places = T.match_buffer(places, (m, k), index)
        assert n <= room.given, too_large
        core = T.launch_thread("blockIdx.x", CORES)
        Pairs = T.alloc_buffer((2 * room.given,), "int32", scope="shared.sram")
        Key = T.alloc_buffer((room.given,), "int32", scope="shared.sram")
        High = T.alloc_buffer((room.given,), "int32", scope="shared.sram")
        Best = T.alloc_buffer((room.given,), "int32", scope="shared.sram")
        ByLow = T.alloc_buffer((room.given,), "int32", scope="shared.sram")
        ByHigh = T.alloc_buffer((room.given,), "int32", scope="shared.sram")
        At = T.alloc_buffer((room.given,), "int32", scope="shared.sram")
        Half = T.alloc_buffer((2 * room.given,), "int32", scope="shared.sram")
        Odd = T.alloc_buffer((2 * room.given,), "int32", scope="shared.sram")
        Words = T.alloc_buffer((2 * room.given,), "int32", scope="shared.sram")
        step: T.let[T.int64] = rows_at_once(m, n, k, room)
        for i in T.serial(0, ((m + step - 1) // step - core + CORES - 1) // CORES):
            r: T.let[T.int64] = (i * CORES + core) * step
            rows: T.let[T.int64] = T.min(step, m - r)
            if n > 0:
                R.load(R.tile(Pairs[0], pitch=2 * n), R.tile(X[r, 0], dtype="int32"), rows, 2 * n)
                word(Key, Pairs, At, 0, rows, n)
                R.add(R.tile(Key[0], pitch=n), R.tile(Key[0], pitch=n), -2147483648.0, rows, n)  # unsigned order as signed order
                turned(Key, rows, n)
                R.topk(R.tile(Best[0], pitch=n), R.tile(ByLow[0], pitch=n), R.tile(Key[0], pitch=n), rows, n, n)
                word(High, Pairs, At, 1, rows, n)
                R.take(R.tile(Key[0], pitch=n), R.tile(High[0], pitch=n), R.tile(ByLow[0], pitch=n), rows, n, n)
                turned(Key, rows, n)
                R.topk(R.tile(Best[0], pitch=k), R.tile(ByHigh[0], pitch=k), R.tile(Key[0], pitch=n), rows, n, k)
                R.take(R.tile(At[0], pitch=k), R.tile(ByLow[0], pitch=n), R.tile(ByHigh[0], pitch=k), rows, k, n)
                # Word c of a row of the result is word c % 2 of pair At[c / 2].
                R.iota(R.tile(Words[0], pitch=2 * k), rows, 2 * k)
                R.div(R.tile(Half[0], pitch=2 * k), R.tile(Words[0], pitch=2 * k), 2, rows, 2 * k)
                R.mul(R.tile(Odd[0], pitch=2 * k), R.tile(Half[0], pitch=2 * k), 2, rows, 2 * k)
                R.sub(R.tile(Odd[0], pitch=2 * k), R.tile(Words[0], pitch=2 * k), R.tile(Odd[0], pitch=2 * k), rows, 2 * k)
                R.take(R.tile(Words[0], pitch=2 * k), R.tile(At[0], pitch=k), R.tile(Half[0], pitch=2 * k), rows, 2 * k, k)
                R.mul(R.tile(Words[0], pitch=2 * k), R.tile(Words[0], pitch=2 * k), 2, rows, 2 * k)
                R.add(R.tile(Odd[0], pitch=2 * k), R.tile(Odd[0], pitch=2 * k), R.tile(Words[0], pitch=2 * k), rows, 2 * k)
                R.take(R.tile(Half[0], pitch=2 * k), R.tile(Pairs[0], pitch=2 * n), R.tile(Odd[0], pitch=2 * k), rows, 2 * k, 2 * n)
                R.store(R.tile(Values[r, 0], dtype="int32"), R.tile(Half[0], pitch=2 * k), rows, 2 * k)
                store_places(Places, At, Words, r, rows, k, index)

    return kernel


def ordered(bb: relax.BlockBuilder, x: Any, axis: int, ascending: bool, index: str, k: Any = None) -> tuple[Any, Any]:
    """The first k (all without k) along `axis` in order, and their indices."""
    source = dtype_of(x)
    x, back = last(bb, x, axis)
    if source == "bool":
        x = cast(bb, x, "uint8")
    elif source in ("int16", "uint16"):
        x = cast(bb, x, "int32")
    elif source == "uint32":
        x = cast(bb, x, "int64")
    dtype, shape = dtype_of(x), shape_of(x)
    outer, n = product(shape[:-1]), shape[-1]
    k = n if k is None else k
    index_dtype = index if index in ("int32", "int64") else "int32"
    flat = reshape(bb, x, [outer, n])
    if dtype not in (*DIRECT, "int8", "uint8", "int64"):
        results = _counted(bb, flat, ascending, index_dtype, k)
    else:
        results = _by_topk(bb, flat, ascending, index_dtype, k)
    results = [reshape(bb, y, [*shape[:-1], k]) for y in results]
    if back is not None:
        results = [bb.emit(relax.op.permute_dims(y, back)) for y in results]
    return cast(bb, results[0], source), cast(bb, results[1], index)


def _by_topk(bb: relax.BlockBuilder, x: Any, ascending: bool, index: str, k: Any) -> list[Any]:
    dtype, (outer, n) = dtype_of(x), shape_of(x)
    if dtype == "int64":
        kernel = order_kernel_int64(ascending, index)
    else:
        few = (static(k) or FEW + 1) <= FEW and (static(n) or EVEN.given + 1) > EVEN.given
        kernel = order_kernel(dtype, ascending, index, LONG[_keys_apart(dtype, ascending)] if few else EVEN)
    return call(bb, kernel, "ascending" if ascending else "descending", [x], [([outer, k], dtype), ([outer, k], index)])


def _counted(bb: relax.BlockBuilder, x: Any, ascending: bool, index: str, k: Any) -> list[Any]:
    """Types that the vector engine does not have (float64, uint64): plain TIR."""
    places = bb.call_te(counted_argsort, x, None, 1, ascending, index)
    places = bb.emit(relax.op.strided_slice(bb.emit(places), [1], [0], [k]))
    return [bb.emit(relax.op.gather_elements(x, places, axis=1)), places]


def _sort(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    return ordered(bb, op.args[0], int(op.attrs.axis), not op.attrs.descending, "int32")[0]


def _argsort(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    return ordered(bb, op.args[0], int(op.attrs.axis), not op.attrs.descending, str(op.attrs.dtype))[1]


def _topk(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    k = int(op.attrs.k) if int(op.attrs.k) >= 1 else None
    values, places = ordered(bb, op.args[0], int(op.attrs.axis), not op.attrs.largest, str(op.attrs.dtype), k)
    chosen = {"both": relax.Tuple([values, places]), "values": values, "indices": places}
    return chosen[str(op.attrs.ret_type)]


def _median(bb: relax.BlockBuilder, op: relax.Call) -> Any:
    """The lower of two middle elements, and with one axis where it stood."""
    x, axes = op.args[0], [int(a) for a in op.attrs.axis] if op.attrs.axis is not None else None
    shape = shape_of(x)
    rank = len(shape)
    single = axes is not None and len(axes) == 1
    axes = sorted(a % rank for a in axes) if axes is not None else list(range(rank))
    rest = [k for k in range(rank) if k not in axes]
    if rest + axes != list(range(rank)):
        x = bb.emit(relax.op.permute_dims(x, rest + axes))
    n = product([shape[a] for a in axes])
    outer = [shape[k] for k in rest]
    x = reshape(bb, x, [product(outer), n])
    values, places = ordered(bb, x, 1, True, "int64")
    middle = (n - 1) // 2
    kept = [1 if k in axes else shape[k] for k in range(rank)] if op.attrs.keepdims else outer
    results = []
    for y in (values, places)[: 2 if single else 1]:
        one = bb.emit(relax.op.strided_slice(y, [1], [middle], [middle + 1]))
        results.append(reshape(bb, one, kept))
    return relax.Tuple(results) if single else results[0]


OPS: dict[str, Legalize] = {
    "relax.sort": _sort,
    "relax.argsort": _argsort,
    "relax.topk": _topk,
    "relax.median": _median,
}
