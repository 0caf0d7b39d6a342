"""The spaces of the packaged templates: linear layers with each epilogue, and the two attentions."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from ..kernels import attention_decode as decode
from ..kernels import attention_extend as extend
from ..kernels import gemm
from ..target import chip
from .space import Blank, Shape, Space, TuneError

BF16, F32 = "bfloat16", "float32"


def _tiling(gm: int, bm: int, bn: int, bk: int) -> gemm.Tiling:
    return gemm.Tiling(gm, chip().cores // gm, bm, bn, bk)


def _tiles(tiling: gemm.Tiling, shape: Shape) -> int:
    """Tiles that a core walks: what a tile a little too small costs shows here, not in its size."""
    slices = -(-shape["m"] // tiling.gm), -(-shape["n"] // tiling.gn)
    return -(-slices[0] // tiling.bm) * -(-slices[1] // tiling.bn)


def _linear(epilogue: str, op: str) -> Space:
    weights = 2 if epilogue == "silu_mul" else 1

    def misfit(tiling: Any, _shape: Shape) -> str:
        return "" if tiling.stages(weights) >= 2 else f"{tiling} leaves no room for two stages of the ring"

    def arguments(_tiling: Any, shape: Shape) -> list[Any]:
        m, n, k = shape["m"], shape["n"], shape["k"]
        extra = {"bias": [Blank((n,), BF16)], "residual": [Blank((m, n), BF16)]}.get(epilogue, [])
        out = Blank((m, n), F32 if epilogue == "float32" else BF16)
        return [Blank((m, k), BF16), Blank((weights * n, k), BF16), *extra, out]

    return Space(
        op=op,
        sizes=("m", "n", "k"),
        parameters={
            "gm": (1, 2, 4, 8, 16),
            "bm": (16, 64, 128, 256, 384, 512),
            "bn": (128, 256, 384, 512, 768, 896, 1024),
            "bk": (64, 128, 256, 512, 1024, 2048),
        },
        configure=_tiling,
        make=lambda tiling: gemm.gemm(tiling, epilogue),
        misfit=misfit,
        arguments=arguments,
        derived=lambda tiling, shape: (float(tiling.stages(weights)), math.log2(_tiles(tiling, shape))),
        enough=lambda tiling, shape: {"bm": -(-shape["m"] // tiling.gm), "bn": -(-shape["n"] // tiling.gn), "bk": shape["k"]},
    )


def _too_large(config: Any) -> str:
    limit = chip().sram_bytes
    return "" if config.sram_bytes <= limit else f"{config} takes {config.sram_bytes:,} bytes of SRAM of {limit:,}"


def _paged(batch: int, tokens: int, page: int) -> tuple[Blank, int]:
    """The block table of `batch` requests and the number of slots of their pages."""
    pages = -(-tokens // page)
    return Blank((batch, pages * page), "int32"), (batch * pages + 1) * page


def _heads_misfit(shape: Shape) -> str:
    if shape["heads"] % shape["kv_heads"]:
        return f"{shape['heads']} heads are no multiple of {shape['kv_heads']} KV heads"
    return "" if shape["head_dim"] % 32 == 0 else f"head_dim={shape['head_dim']} is no multiple of 32"


def _decode() -> Space:
    def misfit(config: Any, shape: Shape) -> str:
        kv_width, width = shape["kv_heads"] * shape["head_dim"], shape["heads"] * shape["head_dim"]
        if kv_width > config.max_kv_width:
            return f"{config} takes {config.max_kv_width} elements of all KV heads, not {kv_width}"
        for name, size, limit in (
            ("batch", shape["batch"], decode.MAX_BATCH),
            ("heads", shape["heads"], decode.MAX_HEADS),
            ("heads * head_dim", width, decode.MAX_WIDTH),
        ):
            if size > limit:
                return f"{name} = {size}, the kernel takes up to {limit}"
        return _heads_misfit(shape) or _too_large(config)

    def arguments(config: Any, shape: Shape) -> list[Any]:
        batch, kv, page, head_dim = shape["batch"], shape["kv"], shape["page"], shape["head_dim"]
        width = shape["heads"] * head_dim
        table, slots = _paged(batch, kv, page)
        cache_ = Blank((slots, shape["kv_heads"] * head_dim), BF16)
        chunks = -(-table.shape[1] // config.chunk)
        workspace = Blank((batch * chunks * (width + 2 * shape["heads"]),), F32)
        q = Blank((batch, width), BF16)
        return [q, cache_, cache_, table, np.arange(batch), np.full(batch, kv), workspace, q, head_dim, page, head_dim**-0.5]

    return Space(
        op="attention_decode",
        sizes=("batch", "kv", "heads", "kv_heads", "head_dim", "page"),
        parameters={
            "chunk": (64, 128, 256, 512, 1024),
            "tile": (16384, 32768, 65536, 131072, 262144),
            "stages": (2, 3, 4, 5, 6, 8, 12, 16),
        },
        configure=decode.Chunking,
        make=decode.attention_decode,
        misfit=misfit,
        arguments=arguments,
        defaults={"page": 16},
    )


def _extend() -> Space:
    def misfit(config: Any, shape: Shape) -> str:
        if reason := _heads_misfit(shape):
            return reason
        group, head_dim = shape["heads"] // shape["kv_heads"], shape["head_dim"]
        if head_dim > extend.MAX_HEAD_DIM:
            return f"head_dim={head_dim}, the kernel takes up to {extend.MAX_HEAD_DIM}"
        if min(config.rows // group, config.area // (group * head_dim)) < 16:
            return f"{config} has no room for 16 tokens of {group} heads of {head_dim}"
        return _too_large(config)

    def arguments(_config: Any, shape: Shape) -> list[Any]:
        seq, prefix, page, head_dim = shape["seq"], shape["prefix"], shape["page"], shape["head_dim"]
        table, slots = _paged(1, prefix + seq, page)
        cache_ = Blank((slots, shape["kv_heads"] * head_dim), BF16)
        q = Blank((seq, shape["heads"] * head_dim), BF16)
        one = [np.array([n], np.int64) for n in (0, prefix, seq, 0)]
        return [q, cache_, cache_, table, *one, q, head_dim, page, head_dim**-0.5]

    return Space(
        op="attention_extend",
        sizes=("seq", "heads", "kv_heads", "head_dim", "prefix", "page"),
        parameters={
            "block": (64, 128, 256),
            "rows": (128, 256, 384, 512, 768, 1024),
            "area": (32768, 65536, 98304, 131072),
            "waves": (1, 2, 3, 4),
        },
        configure=extend.Blocking,
        make=extend.attention_extend,
        misfit=misfit,
        arguments=arguments,
        defaults={"prefix": 0, "page": 16},
    )


@cache
def spaces() -> dict[str, Space]:
    """All spaces by op."""
    found = [*(_linear(epilogue, op) for epilogue, op in gemm.NAMES.items()), _decode(), _extend()]
    return {space.op: space for space in found}


def space_of(op: str, dtype: str = BF16) -> Space:
    """The space of an op. Raises TuneError that lists what there is."""
    space = spaces().get(op)
    if space is None:
        raise TuneError(f"{op!r} cannot be tuned; ops with a space: {', '.join(spaces())}")
    if dtype != space.dtype:
        raise TuneError(f"{op} is tuned for {space.dtype}, not for {dtype}")
    return space
