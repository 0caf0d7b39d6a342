"""Each packaged kernel against its definition in NumPy, over sizes that fit, do not fit and are odd; and rows alone or in a batch."""

import ml_dtypes
import numpy as np
import pytest

from tvm_target import testing

BF16 = ml_dtypes.bfloat16
ULP = 2.0**-7  # of bf16, relative, at most


def random(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(BF16)


def f32(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


def close(got: np.ndarray, want: np.ndarray, ulps: float = 1.01) -> None:
    """Within one rounding of bf16."""
    error = np.abs(f32(got) - f32(want))
    assert (error <= ulps * ULP * np.abs(f32(want)) + 1e-6).all(), f"largest error {error.max()}"


def norm(x: np.ndarray, w: np.ndarray, eps: float) -> np.ndarray:
    x = f32(x)
    return (x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * f32(w)).astype(BF16)


def no_records() -> np.ndarray:
    """Where a kernel on indices leaves those outside: [1 + arguments, cores, (low word, high word, size, size)]."""
    return np.zeros((2, 16, 4), np.int32)


def outside(records: np.ndarray) -> set[tuple[int, int]]:
    """(index, size) of each record."""
    low, high, size, again = (records[1, :, word].astype(np.int64) for word in range(4))
    assert (size == again).all()
    return {(int(h << 32 | l & 0xFFFFFFFF), int(s)) for l, h, s in zip(low, high, size) if s}


ROWS = [(1, 576), (1, 1), (3, 7), (17, 576), (33, 100), (40, 8192), (5, 4097), (300, 33)]


@pytest.mark.parametrize("t, h", ROWS)
def test_rms_norm(compiled, t: int, h: int) -> None:
    x, w = random(t, t, h), random(h, h)
    y = testing.run(compiled("rms_norm"), "rms_norm", x, w, np.zeros_like(x), 1e-5, out=[2])
    close(y, norm(x, w, 1e-5))
    alone = testing.run(compiled("rms_norm"), "rms_norm", x[-1:], w, np.zeros_like(x[-1:]), 1e-5, out=[2])
    assert (alone[0] == y[-1]).all()


@pytest.mark.parametrize("t, h", ROWS)
def test_add_rms_norm(compiled, t: int, h: int) -> None:
    x, residual, w = random(t, t, h), random(t + 1, t, h), random(h, h)
    y, total = testing.run(
        *(compiled("add_rms_norm"), "add_rms_norm", x, residual, w, np.zeros_like(x), np.zeros_like(x), 1e-5), out=[3, 4]
    )
    want = (f32(x) + f32(residual)).astype(BF16)
    assert (total == want).all()
    close(y, norm(want, w, 1e-5))


@pytest.mark.parametrize("t, i", [(1, 1536), (1, 1), (1, 31), (3, 7), (17, 1536), (33, 100), (16, 14336), (2, 70000), (100, 33)])
def test_silu_mul(compiled, t: int, i: int) -> None:
    x = random(t, t, 2 * i)
    gate, up = f32(x[:, :i]), f32(x[:, i:])
    y = testing.run(compiled("silu_mul"), "silu_mul", x, np.zeros((t, i), BF16), out=[1])
    close(y, (gate / (1 + np.exp(-gate)) * up).astype(BF16))


ROPES = [
    (1, 9, 3, 64, 64),
    (7, 9, 3, 64, 64),
    (100, 9, 3, 64, 64),
    (33, 4, 2, 128, 128),
    (50, 5, 1, 80, 40),
    (3, 2, 2, 6, 6),
    (300, 64, 8, 128, 128),
]


@pytest.mark.parametrize("t, heads, kv_heads, head_dim, rotary", ROPES)
def test_rope(compiled, t: int, heads: int, kv_heads: int, head_dim: int, rotary: int) -> None:
    rng = np.random.default_rng(t)
    q, k = random(1, t, heads * head_dim), random(2, t, kv_heads * head_dim)
    positions, half = rng.integers(0, 500, t), rotary // 2
    angle = rng.standard_normal((500, half)).astype(np.float32)
    table = np.concatenate([np.cos(angle), np.sin(angle)], 1)

    def rotated(x: np.ndarray) -> np.ndarray:
        y = f32(x).reshape(t, -1, head_dim)
        cos, sin = table[positions][:, None, :half], table[positions][:, None, half:]
        a, b = y[..., :half].copy(), y[..., half:rotary].copy()
        y[..., :half], y[..., half:rotary] = a * cos - b * sin, b * cos + a * sin
        return y.reshape(t, -1).astype(BF16)

    got = testing.run(compiled("rope_neox"), "rope_neox", q, k, positions, table, no_records(), head_dim, out=[0, 1])
    assert (got[0] == rotated(q)).all() and (got[1] == rotated(k)).all()


@pytest.mark.parametrize("t, v, h", [(1, 100, 576), (7, 50, 33), (1000, 4000, 576), (17, 20, 8192), (100, 10, 10000), (70000, 20, 8)])
def test_embedding(compiled, t: int, v: int, h: int) -> None:
    table, ids = random(v, v, h), np.random.default_rng(t).integers(0, v, t)
    y = testing.run(compiled("embedding"), "embedding", ids, table, no_records(), np.zeros((t, h), BF16), out=[3])
    assert (y == table[ids]).all()


@pytest.mark.parametrize("t, s, width", [(1, 100, 192), (7, 50, 33), (1000, 1500, 192), (17, 20, 8192), (30, 40, 10000), (70000, 80000, 8)])
def test_kv_write(compiled, t: int, s: int, width: int) -> None:
    k, v, k_cache, v_cache = random(1, t, width), random(2, t, width), random(3, s, width), random(4, s, width)
    slots = np.random.default_rng(t).permutation(s)[:t]
    got = testing.run(compiled("kv_write"), "kv_write", k, v, slots, k_cache, v_cache, no_records(), out=[3, 4])
    k_cache[slots], v_cache[slots] = k, v
    assert (got[0] == k_cache).all() and (got[1] == v_cache).all()


@pytest.mark.parametrize("b, v", [(1, 49152), (1, 1), (3, 5), (8, 49152), (33, 1000), (3, 262144), (100, 77), (700, 300)])
def test_argmax(compiled, b: int, v: int) -> None:
    x = np.random.default_rng(v).standard_normal((b, v)).astype(np.float32)
    x[0] = np.round(x[0])  # many ties
    if b > 2:
        x[1], x[2, -1] = -np.inf, np.nan
    ids = testing.run(compiled("argmax"), "argmax", x, np.full(b, -1, np.int64), out=[1])
    assert (ids == x.argmax(-1)).all()


@pytest.mark.parametrize("b, v", [(1, 49152), (1, 1), (3, 5), (8, 49152), (33, 1000), (2, 262144), (100, 77), (150, 30000), (512, 300)])
def test_softmax(compiled, b: int, v: int) -> None:
    rng = np.random.default_rng(v)
    x, temperature = (rng.standard_normal((b, v)) * 5).astype(np.float32), rng.uniform(0.2, 2, (b, 1)).astype(np.float32)
    x[:, : v // 3] = -np.inf  # as sampling filters leave them; some cores then see nothing else
    z = x.astype(np.float64) / temperature
    want = np.exp(z - z.max(-1, keepdims=True))
    want /= want.sum(-1, keepdims=True)
    got = testing.run(compiled("softmax"), "softmax", x, temperature, np.zeros_like(x), out=[2])
    np.testing.assert_allclose(got, want, rtol=4e-5, atol=1e-30)
    alone = testing.run(compiled("softmax"), "softmax", x[-1:], temperature[-1:], np.zeros_like(x[-1:]), out=[2])
    assert (alone[0] == got[-1]).all()


def test_no_rows_is_no_work(compiled) -> None:
    empty = np.zeros((0, 64), BF16)
    assert testing.run(compiled("rms_norm"), "rms_norm", empty, random(0, 64), empty, 1e-5, out=[2]).shape == (0, 64)


OUTSIDE = [-1, 50, 1 << 30, 1 << 31, 1 << 32, (1 << 40) + 3, -(1 << 32), -(1 << 63), (1 << 63) - 1]


@pytest.mark.parametrize("t, at", [(1, 0), (3, 2), (100, 57), (5000, 4999)])
def test_an_index_outside_touches_nothing_and_is_recorded(compiled, t: int, at: int) -> None:
    rng, size = np.random.default_rng(t), 50
    table, angles, q = random(1, size, 33), rng.standard_normal((size, 64)).astype(np.float32), random(2, t, 64)
    for index in OUTSIDE:
        ids = rng.integers(0, size, t)
        ids[at] = index
        good = np.arange(t) != at
        records, y = testing.run(compiled("embedding"), "embedding", ids, table, no_records(), np.zeros((t, 33), BF16), out=[2, 3])
        assert outside(records) == {(index, size)} and (y[good] == table[ids[good]]).all() and np.isfinite(f32(y)).all()
        run = testing.run(compiled("rope_neox"), "rope_neox", q, q, ids, angles, no_records(), 64, out=[0, 4])
        assert outside(run[1]) == {(index, size)} and np.isfinite(f32(run[0])).all()


@pytest.mark.parametrize("t, at", [(1, 0), (7, 3), (100, 57), (1500, 1499)])
def test_a_slot_outside_is_not_written(compiled, t: int, at: int) -> None:
    s, width = 2000, 40
    for index in OUTSIDE[:1] + [s] + OUTSIDE[2:]:
        slots = np.random.default_rng(t).permutation(s)[:t]
        slots[at] = index
        k, v, k_cache, v_cache = random(1, t, width), random(2, t, width), random(3, s, width), random(4, s, width)
        *got, records = testing.run(compiled("kv_write"), "kv_write", k, v, slots, k_cache, v_cache, no_records(), out=[3, 4, 5])
        good = np.arange(t) != at
        k_cache[slots[good]], v_cache[slots[good]] = k[good], v[good]
        assert (got[0] == k_cache).all() and (got[1] == v_cache).all() and outside(records) == {(index, s)}


def test_sizes_that_do_not_fit_are_refused_before_the_launch(compiled) -> None:
    wide = np.zeros((1, 32769), BF16)
    with pytest.raises(RuntimeError, match="rows of more than 32768 elements"):
        testing.run(compiled("rms_norm"), "rms_norm", wide, wide[0], wide, 1e-5)
    with pytest.raises(RuntimeError, match="up to 2048 rows"):
        testing.run(compiled("argmax"), "argmax", np.zeros((2049, 3), np.float32), np.zeros(2049, np.int64))
    with pytest.raises(RuntimeError, match="up to 512 rows"):
        testing.run(compiled("softmax"), "softmax", *[np.zeros((513, n), np.float32) for n in (3, 1, 3)])
    q, table = np.zeros((1, 96), BF16), np.zeros((4, 64), np.float32)
    with pytest.raises(RuntimeError, match="no multiple of head_dim"):
        testing.run(compiled("rope_neox"), "rope_neox", q, q, np.zeros(1, np.int64), table, no_records(), 64)
    with pytest.raises(RuntimeError, match="even number of columns, up to head_dim"):
        testing.run(compiled("rope_neox"), "rope_neox", q, q, np.zeros(1, np.int64), table, no_records(), 48)
