"""sdk_sim.isa says the same as rigi_isa.h."""

import re
from pathlib import Path

import pytest

from sdk_sim import INSTR_DTYPE, Status, isa

INCLUDE = Path(__file__).resolve().parents[2] / "sdk_sim" / "include"


def c_enum(header: str, name: str) -> dict[str, int]:
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / header).read_text(), flags=re.DOTALL)
    body = re.search(rf"enum {name} (?:RIGI_ENUM )?\{{(.*?)\}}", text, re.DOTALL)
    assert body, name
    values = {n: int(v) for n, v in re.findall(r"RIGI_(\w+)\s*=\s*(\d+)", body[1])}
    return {n: v for n, v in values.items() if not n.endswith("_COUNT")}


ENUMS = {
    "rigi_dtype": isa.DType,
    "rigi_bcast": isa.Bcast,
    "rigi_op": isa.Op,
    "rigi_group": isa.Group,
    "rigi_binary": isa.Binary,
    "rigi_compare": isa.Compare,
    "rigi_reduce": isa.Reduce,
    "rigi_act": isa.Act,
    "rigi_flags": isa.Flag,
}


@pytest.mark.parametrize("name", ENUMS)
def test_enums_are_the_headers(name):
    assert c_enum("rigi_isa.h", name) == {member.name: int(member) for member in ENUMS[name]}


def test_status_is_the_headers():
    expected = {n.removeprefix("ERROR_"): v for n, v in c_enum("rigi.h", "rigiStatus").items()}
    assert expected == {member.name: int(member.value) for member in Status}


def test_records_have_the_layout_of_the_abi():
    assert INSTR_DTYPE.itemsize == 112 and isa.OPERAND_DTYPE.itemsize == 16
    header = (INCLUDE / "rigi_isa.h").read_text()
    body = re.search(r"typedef struct rigi_instr \{(.*?)\}", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL), re.DOTALL)
    assert body
    fields = [n for declaration in re.findall(r"\w+ ([\w, ]+);", body[1]) for n in declaration.split(", ")]
    assert fields == list(INSTR_DTYPE.names)
