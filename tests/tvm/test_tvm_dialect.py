"""The dialect: what it writes into TIR, and what it refuses while a kernel is parsed."""

import inspect

import pytest
import tvm
from tvm.script import tirx as T

from tvm_target import dialect as R
from tvm_target import isa
from tvm_target.kernels import gemm


def buffers() -> dict:
    make = tvm.tirx.decl_buffer
    return {
        "X": make((64, 128), "bfloat16", name="X"),
        "Y": make((64, 128), "float32", name="Y"),
        "Ids": make((64,), "int64", name="Ids"),
        "S": make((2, 64, 128), "bfloat16", name="S", scope="shared.sram"),
        "F": make((64, 128), "float32", name="F", scope="shared.sram"),
        "I": make((64,), "int32", name="I", scope="shared.sram"),
        "L": make((4,), "int64", name="L", scope="local"),
    }


REFUSED = {
    "store into HBM as dst": ("R.load(b['X'][0, 0], b['X'][0, 0], 1, 1)", "scope 'global'.*must be in SRAM.*R.load first"),
    "HBM as compute operand": ("R.add(b['F'][0, 0], b['Y'][0, 0], 1.0, 1, 1)", "R.add: a: 'Y'.*must be in SRAM"),
    "SRAM as DMA source": ("R.load(b['S'][0, 0, 0], b['S'][1, 0, 0], 1, 1)", "R.load: src: 'S'.*must be in HBM"),
    "local as operand": ("R.fill(b['L'][0], 0, 1, 1)", "'L' has scope 'local'.*allocate it with scope='shared.sram'"),
    "DMA converts nothing": ("R.load(b['F'][0, 0], b['X'][0, 0], 1, 1)", "'X' is bfloat16 but 'F' is float32.*R.cast.*R.tile"),
    "int64 in SRAM": ("R.tile(b['I'][0], dtype='int64')", "unknown dtype 'int64'; known: float32.*int4"),
    "mma of fp32": (
        "R.mma(b['F'][0, 0], b['F'][0, 0], b['S'][0, 0, 0], 1, 1, 1)",
        "R.mma: a: 'F' has dtype float32; allowed here: bfloat16",
    ),
    "mma into bf16": (
        "R.mma(b['S'][0, 0, 0], b['S'][0, 0, 0], b['S'][0, 0, 0], 1, 1, 1)",
        "R.mma: c: 'S' has dtype bfloat16; allowed here: float32",
    ),
    "index of floats": ("R.gather(b['S'][0, 0, 0], b['X'][0, 0], b['F'][0, 0], 1, 1)", "R.gather: index.*allowed here: int32"),
    "copy converts nothing": ("R.copy(b['S'][0, 0, 0], b['F'][0, 0], 1, 1)", "dst is bfloat16, a is float32; they must be equal"),
    "a slice": ("R.add(b['F'][0:4, 0:4], b['F'][0, 0], 1.0, 4, 4)", "slice of a buffer; name the block's first element"),
    "activation": ("R.act('softplus', b['F'][0, 0], b['F'][0, 0], 1, 1)", "unknown function 'softplus'; known: identity, exp, .*cos"),
    "group": ("R.load_multicast(b['S'][0, 0, 0], b['X'][0, 0], 1, 1, group='grid')", "unknown function 'grid'; known: row, col, all"),
    "float size": ("R.fill(b['F'][0, 0], 0.0, 1.5, 1)", "R.fill: rows: expected an integer, got 1.5"),
    "negative size": ("R.fill(b['F'][0, 0], 0.0, -1, 1)", "R.fill: rows: -1 is negative"),
    "row as output": ("R.add(R.row(b['F'][0, 0]), b['F'][0, 0], 1.0, 1, 1)", "R.row.*cannot be used here"),
    "row as bias": ("R.act('exp', b['F'][0, 0], b['F'][0, 0], 1, 1, bias=R.row(b['F'][0, 0]))", "bias must be a number or R.col"),
    "a string": ("R.mul(b['F'][0, 0], b['F'][0, 0], 'two', 1, 1)", "R.mul: b: expected a number, got 'two'"),
    "an unknown instruction": ("R.matmul(b['F'][0, 0])", "no function R.matmul; known: load, gather.*mma"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses(case: str) -> None:
    call, text = REFUSED[case]
    with pytest.raises((R.DialectError, AttributeError), match=f"(?s){text}"):
        eval(call, {"R": R, "b": buffers()})


def test_errors_reach_who_wrote_the_kernel() -> None:
    with pytest.raises(tvm.error.DiagnosticError, match="R.load: dst: 'X' has scope 'global'"):

        @T.prim_func
        def kernel(x: T.handle):
            X = T.match_buffer(x, (4, 4), "bfloat16")
            with T.launch_thread("blockIdx.x", 16):
                R.load(X[0, 0], X[0, 0], 4, 4)


def test_macros_find_their_parser_without_reading_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """TVM's own search takes a tenth of a second a call in a process with many modules."""
    searches = []
    search = inspect.getouterframes
    monkeypatch.setattr(inspect, "getouterframes", lambda *args: searches.append(1) or search(*args))
    gemm.KERNELS[0].make()
    assert len(searches) <= 1  # of the function's own decorator

    @T.inline
    def macro():
        R.barrier()

    with pytest.raises(RuntimeError, match=r"T.inline.*outside of TVMScript"):
        macro()


def test_operands_carry_their_type_and_pitch() -> None:
    b = buffers()
    tile = R.tile(b["Ids"][3], dtype="int32")
    assert (tile.dtype, int(tile.pitch.value if hasattr(tile.pitch, "value") else tile.pitch)) == ("int32", 128)
    assert R.col(b["I"][0]).pitch == 1
    assert int(R.col(b["F"][0, 0]).pitch) == 128
    assert int(R.tile(b["S"][1, 0, 0], pitch=64).pitch.value) == 64
    call = R.load(b["S"][0, 0, 0], b["X"][0, 0], 2, 3)
    assert call.args[0].value == "rigi.load" and call.args[2].args[0].value == isa.TILE


def test_every_function_says_engine_and_cost() -> None:
    for name in R._FUNCTIONS:
        text = inspect.getdoc(getattr(R, name))
        assert text, name
        if name not in ("tile", "row", "col", "barrier"):
            assert "engine" in text, name
