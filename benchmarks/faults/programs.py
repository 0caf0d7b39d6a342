"""Faults of programs: instructions that the hardware could not carry out. Core 5 issues each in phase 1, among good work."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from sdk_sim.isa import (
    ADD,
    BF16,
    F16,
    F32,
    I4,
    I8,
    I32,
    LT,
    SUM,
    U8,
    Act,
    Bcast,
    Binary,
    Group,
    Op,
    Operand,
    Reduce,
    act,
    binary,
    cast,
    col,
    compare,
    copy,
    fill,
    gather,
    imm,
    instr,
    iota,
    load,
    load_multicast,
    mma,
    reduce,
    row,
    scatter,
    select,
    send,
    sram,
    store,
    store_add,
    take,
    topk,
    transpose,
)

from .case import TIMED, Bench, Case, good
from .native import Outcome

CORE, LINE = 5, 77
SRAM = 2 << 20
A, B, C, D = (sram(address, 64, F32) for address in (0, 4096, 8192, 12288))
INDEX = sram(16384, 64, I32)
HOST = ctypes.create_string_buffer(64)
Instructions = Callable[[Bench], "np.ndarray | list[np.ndarray]"]


def fault(name: str, op: str, make: Instructions, *words: str) -> Case:
    """A case whose last instruction is wrong. It must be named with everything that finds it again."""

    def inject(bench: Bench) -> Outcome:
        made = make(bench)
        instructions = made if isinstance(made, list) else [made]
        instructions[-1]["line"] = LINE
        instructions = [good()] * (4 - len(instructions)) + instructions
        return bench.run([{CORE: [good()], 9: [good()] * 3}, {CORE: instructions, 9: [good()], 2: [good()] * 8}], name)

    # One instruction and a barrier in phase 0, three in phase 1, then this one.
    place = (f"kernel {name}, ", f"core {CORE}, ", "phase 1, ", f"instruction 5 ({op})", f"source line {LINE}", "rigiDeviceReset")
    return Case("program", name, "KERNEL_FAULT", place + words, inject)


def wide(operand: Operand, **changes: Any) -> Operand:
    return operand._replace(**changes)


def with_field(instruction: np.ndarray, field: str, value: int) -> np.ndarray:
    instruction[field] = value
    return instruction


def indices(bench: Bench, values: list[int]) -> np.ndarray:
    """Loads an index list for the instruction that follows."""
    host = np.zeros(16, np.int32)
    host[: len(values)] = values
    bench.api.must("rigiMemcpy", bench.x, host.ctypes.data, 64)
    return load(INDEX, bench.x, 64, 1, 64)


PAST = ("past the end of the scratchpad", hex(SRAM))
ALIGNED = ("is not 64-byte aligned",)
OUTSIDE = ("is not inside the device's HBM [",)

DMA = [
    fault("sram-past-end", "fill", lambda b: fill(sram(SRAM - 64, 64, F32), 0, 1, 32), "operand dst", *PAST),
    fault("sram-far-outside", "load", lambda b: load(sram(1 << 31, 64, U8), b.x, 64, 1, 64), "operand dst", *PAST),
    fault("sram-stride-leads-out", "store", lambda b: store(b.x, 64, sram(0, 1 << 20, U8), 4, 64), "operand a", *PAST),
    fault("sram-misaligned", "load", lambda b: load(sram(32, 64, U8), b.x, 64, 1, 64), "operand dst", "0x20", *ALIGNED),
    fault("hbm-null", "load", lambda b: load(A, 0, 64, 1, 64), "HBM block at 0x0", *OUTSIDE),
    fault("hbm-past-end", "store", lambda b: store(b.x + (64 << 30), 64, A, 1, 64), "HBM block at", *OUTSIDE),
    fault("hbm-of-another-device", "load", lambda b: load(A, b.other, 64, 1, 64), "HBM block at", *OUTSIDE),
    fault("hbm-negative-stride-leads-out", "load", lambda b: load(A, b.x, -(1 << 40), 2, 64), "2 rows of 64 bytes", *OUTSIDE),
    fault("hbm-host-pointer", "store", lambda b: store(ctypes.addressof(HOST), 64, A, 1, 64), "HBM block at", *OUTSIDE),
    fault("store-rows-overlap", "store", lambda b: store(b.x, 32, A, 4, 64), "rows of 64 bytes stored 32 bytes apart overlap"),
    fault("rows-zero", "load", lambda b: load(A, b.x, 64, 0, 64), "rows is 0", "allowed: 1 to"),
    fault("bytes-zero", "store", lambda b: store(b.x, 64, A, 1, 0), "columns (or bytes a row) is 0", "allowed: 1 to"),
    fault("rows-negative", "fill", lambda b: instr(Op.FILL, dst=A, rows=0xFFFFFFFF, cols=1), "rows is negative", "allowed: 1 to"),
    fault("size-too-large", "load", lambda b: load(A, b.x, 64, (1 << 26) + 1, 1), "rows is 67108865", "allowed: 1 to 67108864"),
    fault("load-into-constant", "load", lambda b: load(imm(1), b.x, 64, 1, 64), "operand dst", "must not be broadcast"),
    fault("fill-i4", "fill", lambda b: fill(wide(A, dtype=I4), 0, 1, 16), "operand dst has dtype i4", "allowed: f32"),
    fault("written-rows-overlap", "fill", lambda b: fill(wide(A, stride=32), 0, 4, 16), "operand dst", "row stride of 32", "64 bytes"),
    fault("stride-negative", "fill", lambda b: fill(wide(A, stride=-64), 0, 4, 16), "operand dst", "row stride of -64"),
    fault("stride-splits-an-element", "reduce", lambda b: reduce(SUM, B, wide(A, stride=66), 4, 16), "operand a", "66", "element size 4"),
    fault(
        "gather-index-negative",
        "gather",
        lambda b: [indices(b, [3, -1]), gather(A, b.x, 64, INDEX, 2, 64)],
        "row 1",
        "operand a",
        "-1",
        "0 or more",
    ),
    fault(
        "gather-index-leads-out",
        "gather",
        lambda b: [indices(b, [0, 1 << 30]), gather(A, b.x, 4096, INDEX, 2, 64)],
        "row 1",
        "operand a",
        "1073741824",
        "largest possible index",
    ),
    fault(
        "gather-index-dtype",
        "gather",
        lambda b: gather(A, b.x, 64, wide(INDEX, dtype=F32), 2, 64),
        "operand a (index list)",
        "allowed: i32",
    ),
    fault(
        "scatter-index-negative",
        "scatter",
        lambda b: [indices(b, [-7]), scatter(b.x, 64, A, INDEX, 1, 64)],
        "row 0",
        "operand b",
        "-7",
        "0 or more",
    ),
    fault(
        "scatter-index-leads-out",
        "scatter",
        lambda b: [indices(b, [1 << 30]), scatter(b.x, 4096, A, INDEX, 1, 64)],
        "operand b",
        "largest possible index",
    ),
    fault(
        "scatter-index-misaligned", "scatter", lambda b: scatter(b.x, 64, A, wide(INDEX, addr=4), 2, 64), "operand b (index list)", *ALIGNED
    ),
    fault(
        "store-add-dtype",
        "store_add",
        lambda b: store_add(b.x, 64, wide(A, dtype=F16), 1, 64),
        "operand a has dtype f16",
        "allowed: f32, bf16",
    ),
    fault("store-add-half-element", "store_add", lambda b: store_add(b.x, 64, A, 1, 62), "62 bytes", "whole number of f32"),
    fault("send-to-no-core", "send", lambda b: send(16, A, B, 1, 64), "send to core 16", "cores 0 to 15"),
    fault("send-to-itself", "send", lambda b: send(CORE, A, B, 1, 64), "sending core itself (5)", "use copy"),
    fault("send-past-end", "send", lambda b: send(3, wide(A, addr=SRAM), B, 1, 64), "operand dst", *PAST),
    fault(
        "multicast-group",
        "load_multicast",
        lambda b: instr(Op.LOAD_MULTICAST, fn=3, dst=A, hbm=b.x, rows=1, cols=64),
        "function code 3",
        "allowed: 0 to 2",
    ),
    fault(
        "opcode-unknown",
        "unknown instruction",
        lambda b: with_field(instr(Op.LOAD, rows=1, cols=1), "op", 20),
        "operation code 20",
        "allowed: 0 to 19",
    ),
]

COMPUTE = [
    fault(
        "mma-types-differ",
        "mma",
        lambda b: mma(C, wide(A, dtype=BF16), wide(B, dtype=F16), 16, 16, 32),
        "operand b has dtype f16",
        "allowed: bf16",
    ),
    fault("mma-of-fp32", "mma", lambda b: mma(C, A, B, 16, 16, 16), "operand a has dtype f32", "allowed: f16, bf16"),
    fault(
        "mma-int8-into-fp32",
        "mma",
        lambda b: mma(C, wide(A, dtype=I8), wide(B, dtype=I8), 16, 16, 64),
        "operand c (dst) has dtype f32",
        "allowed: i32",
    ),
    fault("mma-depth-zero", "mma", lambda b: mma(C, wide(A, dtype=BF16), wide(B, dtype=BF16), 16, 16, 0), "K is 0", "allowed: 1 to"),
    fault("mma-broadcast", "mma", lambda b: mma(C, row(0, BF16), wide(B, dtype=BF16), 1, 16, 32), "operand a must not be broadcast"),
    fault("mma-operand-past-end", "mma", lambda b: mma(C, wide(A, dtype=BF16), sram(SRAM - 64, 64, BF16), 16, 32, 32), "operand b", *PAST),
    fault(
        "binary-function", "binary", lambda b: with_field(binary(Binary.ADD, C, A, B, 1, 16), "fn", 6), "function code 6", "allowed: 0 to 5"
    ),
    fault("binary-i4", "binary", lambda b: binary(ADD, C, wide(A, dtype=I4), B, 1, 16), "operand a has dtype i4", "allowed: f32"),
    fault(
        "binary-dtype-unknown", "binary", lambda b: binary(ADD, C, A, wide(B, dtype=200), 1, 16), "operand b has dtype 200", "allowed: f32"
    ),
    fault(
        "binary-into-broadcast",
        "binary",
        lambda b: binary(ADD, row(0, F32), A, B, 2, 16),
        "operand dst is written",
        "must not be broadcast",
    ),
    fault(
        "broadcast-form",
        "binary",
        lambda b: binary(ADD, C, wide(A, bcast=9), B, 1, 16),
        "operand a has broadcast form 9",
        "allowed: 0 to 3",
    ),
    fault("compare-past-end", "compare", lambda b: compare(LT, C, A, sram(SRAM - 64, 64, F32), 2, 16), "operand b", *PAST),
    fault("select-condition-misaligned", "select", lambda b: select(C, wide(D, addr=8), A, B, 1, 16), "operand c (condition)", *ALIGNED),
    fault("copy-changes-type", "copy", lambda b: copy(wide(C, dtype=BF16), A, 1, 16), "dst is bf16", "use cast"),
    fault("cast-into-i4", "cast", lambda b: cast(wide(C, dtype=I4), A, 1, 16), "operand dst has dtype i4", "allowed: f32"),
    fault("transpose-changes-type", "transpose", lambda b: transpose(wide(C, dtype=I32), A, 4, 4), "dst is i32", "use cast"),
    fault("transpose-past-end", "transpose", lambda b: transpose(sram(SRAM - 128, 64, F32), A, 4, 4), "operand dst", *PAST),
    fault(
        "reduce-function", "reduce", lambda b: with_field(reduce(Reduce.SUM, C, A, 1, 16), "fn", 2), "function code 2", "allowed: 0 to 1"
    ),
    fault("reduce-column", "reduce", lambda b: reduce(SUM, C, col(0, 64, F32), 2, 16), "operand a must not be broadcast"),
    fault("iota-past-end", "iota", lambda b: iota(sram(SRAM - 64, 64, I32), 0, 1, 1, 2, 16), "operand dst", *PAST),
    fault(
        "take-index-negative",
        "take",
        lambda b: [indices(b, [1, 0, -5]), take(C, A, INDEX, 1, 8, 16)],
        "operand b",
        "column 2",
        "-5",
        "16 columns (0..15)",
    ),
    fault(
        "take-index-too-large",
        "take",
        lambda b: [indices(b, [1, 16]), take(C, A, INDEX, 1, 8, 16)],
        "operand b",
        "column 1",
        "16 columns (0..15)",
    ),
    fault("take-index-dtype", "take", lambda b: take(C, A, B, 1, 8, 16), "operand b (indices) has dtype f32", "allowed: i32"),
    fault("topk-more-than-a-row", "topk", lambda b: topk(C, INDEX, A, 1, 8, 9), "k is 9", "only 8 elements"),
    fault("topk-index-dtype", "topk", lambda b: topk(C, D, A, 1, 8, 2), "operand c (indices) has dtype f32", "allowed: i32"),
    fault("act-function", "act", lambda b: with_field(act(Act.SILU, C, A, 1, 16), "fn", 14), "function code 14", "allowed: 0 to 13"),
    fault("act-of-constant", "act", lambda b: act(Act.EXP, C, imm(1), 1, 16), "operand a", "must lie in SRAM"),
    fault("act-into-integer", "act", lambda b: act(Act.EXP, wide(C, dtype=I32), A, 1, 16), "operand dst has dtype i32", "allowed: f32"),
    fault(
        "act-bias-dtype",
        "act",
        lambda b: act(Act.EXP, C, A, 2, 16, bias=sram(4096, 64, BF16, Bcast.COL)),
        "operand b (row bias) has dtype bf16",
        "allowed: f32",
    ),
    fault("act-sums-misaligned", "act", lambda b: act(Act.EXP, C, A, 2, 16, sums=sram(8, 64, F32)), "operand c (row sums)", *ALIGNED),
]


# ---- faults that only the schedule can tell: multicasts whose receivers do not agree


def multicast(name: str, instruction: int, cores: Callable[[Bench], dict[int, list[np.ndarray]]], *words: str) -> Case:
    def inject(bench: Bench) -> Outcome:
        with bench.mode(TIMED):
            return bench.run([{0: [good()]}, cores(bench)], name)

    place = (f"kernel {name}, ", "core ", "phase 1, ", f"instruction {instruction} (load_multicast)", "rigiDeviceReset")
    return Case("program", name, "KERNEL_FAULT", place + words, inject)


def cast_of(bench: Bench, at: int = 0, nbytes: int = 64, group: Group = Group.GROUP_ROW) -> np.ndarray:
    return load_multicast(wide(A, addr=at), bench.x, 64, 1, nbytes, group)


MULTICAST = [
    multicast(
        "multicast-destination-differs",
        1,
        lambda b: {4: [cast_of(b)], 5: [cast_of(b)], 6: [cast_of(b, 64)], 7: [cast_of(b)]},
        "operand dst",
        "must equal",
        "core",
    ),
    multicast(
        "multicast-size-differs",
        1,
        lambda b: {c: [cast_of(b, 0, 64 if c < 7 else 128)] for c in range(4, 8)},
        "sizes must equal",
        "partner, core",
    ),
    multicast("multicast-receiver-missing", 1, lambda b: {c: [cast_of(b)] for c in (4, 5, 7)}, "waits for ever", "every core of its group"),
    multicast(
        "multicast-orders-differ",
        2,
        lambda b: {
            c: [cast_of(b, 0, 64, g) for g in ((Group.GROUP_ROW, Group.GROUP_ALL) if c else (Group.GROUP_ALL, Group.GROUP_ROW))]
            for c in range(16)
        },
        "waits for ever",
        "same order",
    ),
]


# ---- faults of native code


def native(name: str, which: int, op: str, address: Callable[[Bench], int], *words: str) -> Case:
    def inject(bench: Bench) -> Outcome:
        kernel = bench.kernel("faulty")
        arguments = (ctypes.c_int64 * 2)(which, address(bench))
        bench.api.must("rigiLaunchKernel", kernel, None, arguments, 2)
        return bench.api("rigiDeviceSynchronize", 0)

    place = ("kernel faulty, ", f"core {CORE}, ", "phase 1", "rigiDeviceReset", *([f"instruction 3 ({op})"] if op else []))
    return Case("program", name, "KERNEL_FAULT", place + words, inject)


NATIVE = [
    native("scalar-load-misaligned", 0, "scalar_load", lambda b: b.x + 2, "not a multiple of the 4 bytes"),
    native("scalar-load-outside", 0, "scalar_load", lambda b: 8, "address 8 is outside the HBM ("),
    native("scalar-read-misaligned", 1, "scalar_read", lambda b: 6, "address 6 is not a multiple of the 4 bytes"),
    native("scalar-read-past-end", 1, "scalar_read", lambda b: SRAM, "outside the scratchpad", str(SRAM)),
    native("scalar-of-three-bytes", 2, "scalar_read", lambda b: 0, "a scalar of 3 bytes", "allowed: 1, 2, 4, 8"),
    native("size-computed-negative", 3, "fill", lambda b: -3, "rows is negative", "allowed: 1 to", f"source line {LINE}"),
    native("kernel-throws", 4, "", lambda b: 0, "the kernel itself gave up"),
    native("kernel-throws-an-int", 5, "", lambda b: 0, "threw an exception that is no std::exception"),
]

CASES = [*DMA, *COMPUTE, *MULTICAST, *NATIVE]
