"""What tuning may choose: for each op the parameters of its kernel, which of them go together, and how to call it with a shape.

A space is a grid: every combination of `parameters` that `fits`. The kernels are templates (kernels/gemm.py and others) which take a
configuration, a frozen dataclass, and give a kernel for shapes known at run time: one build of a configuration is timed on all shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import product
from typing import Any

from ..package import KernelSpec, discover

Shape = dict[str, int]
Values = tuple[int, ...]


class TuneError(ValueError):
    """An op without a space, or a shape that its kernels do not take."""


@dataclass(frozen=True)
class Blank:
    """An operand of which only the shape counts: nobody reads or writes it in timing-only mode."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Space:
    """The configurations of one op.

    `sizes` names the shape, `defaults` what need not be given; `parameters` maps names to choices; `configure` makes the template's
    configuration of one choice each; `misfit(config, shape)` says why a configuration cannot serve a shape (empty: it can);
    `arguments(config, shape)` are the kernel's: Blank, arrays with the values that the sequencer reads, numbers. `derived(config, shape)`
    are further numbers by which configurations differ, for the search's model; `enough(config, shape)` is how large parameters
    need be: of those that are at least that, the search looks at the smallest alone.
    """

    op: str
    sizes: tuple[str, ...]
    parameters: dict[str, tuple[int, ...]]
    configure: Callable[..., Any]
    make: Callable[[Any], Any]
    misfit: Callable[[Any, Shape], str]
    arguments: Callable[[Any, Shape], list[Any]]
    derived: Callable[[Any, Shape], tuple[float, ...]] = lambda config, shape: ()
    enough: Callable[[Any, Shape], dict[str, int]] = lambda config, shape: {}
    dtype: str = "bfloat16"
    defaults: Shape = field(default_factory=dict)

    def shape(self, given: Sequence[int] | Mapping[str, int]) -> Shape:
        """The shape by names, in order. Raises TuneError for a size that is missing, unknown or less than 1 (0 where 0 is the default)."""
        wanted = ",".join(self.sizes)
        if not isinstance(given, Mapping):
            if len(given) > len(self.sizes):
                raise TuneError(f"{self.op}: {len(given)} sizes given, but a shape is {wanted}")
            given = dict(zip(self.sizes, given))
        if unknown := sorted(given.keys() - set(self.sizes)):
            raise TuneError(f"{self.op}: no size is named {', '.join(unknown)}; a shape is {wanted}")
        whole = {**self.defaults, **given}
        if missing := [name for name in self.sizes if name not in whole]:
            raise TuneError(f"{self.op}: {', '.join(missing)} missing; a shape is {wanted}")
        for name in self.sizes:
            least = min(1, self.defaults.get(name, 1))
            if whole[name] < least:
                raise TuneError(f"{self.op}: {name}={whole[name]}, but it is at least {least}")
        return {name: int(whole[name]) for name in self.sizes}

    def config(self, values: Values) -> Any:
        return self.configure(**dict(zip(self.parameters, values)))

    def fits(self, values: Values, shape: Shape) -> bool:
        return not self.misfit(self.config(values), shape)

    def worth(self, values: Values, shape: Shape) -> bool:
        """Whether no smaller choice does the same for the shape."""
        config = self.config(values)
        enough = self.enough(config, shape)
        given = dict(zip(self.parameters, values))
        return not any(limit <= choice < given[name] for name, limit in enough.items() for choice in self.parameters[name])

    def grid(self, *shapes: Shape) -> Iterator[Values]:
        """All choices that fit at least one of the shapes."""
        for values in product(*self.parameters.values()):
            if any(self.fits(values, shape) for shape in shapes):
                yield values

    def packaged(self, shape: Shape) -> Values:
        """The parameters of the packaged kernel that serves the shape when nothing is tuned. Raises TuneError where none does."""
        reason = ""
        for spec in _specs(self.op):
            values = self._values(spec.config)
            reason = self._beyond(spec, shape) or self.misfit(self.config(values), shape)
            if not reason:
                return values
        raise TuneError(f"{self.op}: no packaged kernel takes {text(shape)}: {reason}")

    def source(self) -> str:
        """Hash of the kernel: of what the template makes of two packaged configurations, not of its text. Made once a process."""
        return _kernel_hash(self.op)

    def spec(self, values: Values, name: str | None = None) -> KernelSpec:
        """The kernel of a configuration, as packages and `build_specs` take it."""
        config = self.config(values)
        name = name or "_".join([self.op, *map(str, values)])
        return KernelSpec(op=self.op, name=name, dtype=self.dtype, make=lambda: self.make(config), config=asdict(config))

    def _values(self, config: Mapping[str, int]) -> Values:
        return tuple(config[name] for name in self.parameters)

    def _beyond(self, spec: KernelSpec, shape: Shape) -> str:
        """Which size lies outside the kernel's limits; empty: none."""
        for name, (low, high) in spec.limits.items():
            if name in shape and not low <= shape[name] <= high:
                return f"{name}={shape[name]}, {spec.name} takes {low} to {high}"
        return ""


@cache
def _specs(op: str) -> list[KernelSpec]:
    return [found.spec for found in discover() if found.spec.op == op]


@cache
def _kernel_hash(op: str) -> str:
    from tvm_ffi import structural_hash

    specs = _specs(op)
    made = [spec.make() for spec in {spec.name: spec for spec in (specs[0], specs[-1])}.values()]
    # Structural: names of variables, comments and helper functions of the template do not count, so that they cost nobody a search.
    hashes = [structural_hash(func.with_attr("global_symbol", op)) for func in made]
    return "-".join(f"{h & (1 << 64) - 1:016x}" for h in hashes)


def text(shape: Mapping[str, int]) -> str:
    """m=4096 n=4096 k=4096"""
    return " ".join(f"{name}={size}" for name, size in shape.items())
