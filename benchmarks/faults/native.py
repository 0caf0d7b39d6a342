"""rigi.h through ctypes: calls that the Python binding would not let through. Argument types come from the record of the ABI."""

from __future__ import annotations

import ctypes
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import sdk_sim

PACKAGE = Path(sdk_sim.__file__).parent
LIBRARY = PACKAGE / "lib" / "librigi.so"
INCLUDE = PACKAGE / "include"

SCALARS = {
    "int": ctypes.c_int,
    "double": ctypes.c_double,
    "size_t": ctypes.c_size_t,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}


class Skip(Exception):
    """A case cannot be tried here, and why."""


class Outcome(NamedTuple):
    """What a call gave back: the status without its prefix, and the text of the failure."""

    status: str
    text: str


def argument_types(prototype: str) -> list[Any]:
    """ctypes for the parameters of a C prototype of rigi.h."""
    parameters = prototype[prototype.index("(") + 1 : prototype.rindex(")")]
    types: list[Any] = []
    for parameter in [] if parameters == "void" else parameters.split(", "):
        kind = parameter.rsplit(" ", 1)[0]
        if "*" in parameter or re.fullmatch(r"rigi\w+_t", kind):
            types.append(ctypes.c_void_p)
        else:
            types.append(SCALARS.get(kind, ctypes.c_int))  # what remains are enums
    return types


class Api:
    """`api("rigiMalloc", 0, 64, byref(pointer))` calls the function and says what came of it."""

    def __init__(self) -> None:
        record = tomllib.loads((PACKAGE / "abi.toml").read_text())
        self.prototypes: dict[str, str] = record["functions"]
        self.statuses = {v: n.removeprefix("RIGI_ERROR_").removeprefix("RIGI_") for n, v in record["enums"]["rigiStatus"].items()}
        self.library = ctypes.CDLL(str(LIBRARY))
        self.library.rigiGetLastErrorString.restype = ctypes.c_char_p

    def __call__(self, name: str, *arguments: Any) -> Outcome:
        try:
            function = getattr(self.library, name)
        except AttributeError:
            raise Skip(f"this librigi.so has no {name}") from None
        if function.argtypes is None:
            function.argtypes = argument_types(self.prototypes[name])
        status = self.statuses.get(function(*arguments), "UNKNOWN")
        return Outcome(status, "" if status == "SUCCESS" else self.library.rigiGetLastErrorString().decode())

    def must(self, name: str, *arguments: Any) -> None:
        """A call of a case's preparation: anything but success ends the case."""
        outcome = self(name, *arguments)
        if outcome.status != "SUCCESS":
            raise RuntimeError(f"preparation: {name} gave {outcome.status}: {outcome.text}")

    def new(self, name: str, *arguments: Any) -> int:
        """The handle, pointer or number that a call writes through its last parameter."""
        result = ctypes.c_uint64()
        self.must(name, *arguments, ctypes.byref(result))
        return result.value
