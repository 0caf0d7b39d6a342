"""Writes the generated sources in docs/compiler.md: what `inspect_source` prints for three functions.

python docs/compiler.py            # puts them between the page's markers
python docs/compiler.py --check    # writes nothing; fails if the page is not current
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

PAGE = Path(__file__).with_name("compiler.md")
MARKED = re.compile(r"(<!-- source: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

n = tvm.tirx.Var("n", "int64")
ops = relax.op
FUNCTIONS: dict[str, tuple[Callable[..., Any], list[tuple[tuple[Any, ...], str]]]] = {
    "elementwise": (lambda x, bias: ops.nn.silu(ops.add(x, bias)), [((n, 1536), "bfloat16"), ((1536,), "bfloat16")]),
    "softmax": (lambda x: ops.nn.softmax(x, axis=-1), [((n, 512), "float32")]),
    "matmul": (lambda x, w: ops.matmul(x, w), [((n, 384), "float32"), ((384, 1536), "float32")]),
}


def source(name: str) -> str:
    """The C++ of the one kernel of a function, without what all modules begin and end with."""
    make, inputs = FUNCTIONS[name]
    parameters = [relax.Var(letter, relax.TensorType(shape, dtype)) for letter, (shape, dtype) in zip("xw", inputs)]
    builder = relax.BlockBuilder()
    with builder.function("main", parameters):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(make(*parameters)))
        builder.emit_func_output(result)
    text = printed(tvm.compile(builder.finalize(), target="rigi1").mod)
    (kernel,) = re.findall(r"^namespace (?!\{)\w+ \{\n.*?^\}  // namespace \w+$", text, re.DOTALL | re.MULTILINE)
    return kernel


def printed(module: Any) -> str:
    """`inspect_source()` of the device code in a compiled module."""
    if module.kind == "rigi":
        return module.inspect_source()
    return "".join(printed(part) for part in module.imports)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    check = parser.parse_args().check
    old = PAGE.read_text()
    new = MARKED.sub(lambda m: f"{m[1]}```cpp\n{source(m[2])}\n```\n{m[3]}", old)
    if check and old != new:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), str(PAGE), "as compiled"))
        sys.exit("docs/compiler.md is not current: python docs/compiler.py")
    if old != new:
        PAGE.write_text(new)
        print("wrote docs/compiler.md")


if __name__ == "__main__":
    main()
