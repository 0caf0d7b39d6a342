"""Relax ops that TVM leaves to functions of the host, or to loops that one core would run element by element, as kernels of the chip.

`LEGALIZE_MAP` (name of the op -> function of block builder and call) goes to LegalizeOps before TVM's own legalizations. One file a family:
each brings its tensor into the shape that its kernel takes (casts, transposes and reshapes are Relax ops, legalized in turn), calls the
kernel, and brings the result back. What a file does not take, it hands to TVM's legalization: plain TIR, for the rules.
"""

from __future__ import annotations

from . import create, host, nn, scan, scatter, search, slice, sort, vision
from .common import Legalize

__all__ = ["LEGALIZE_MAP"]

LEGALIZE_MAP: dict[str, Legalize] = {**sort.OPS, **scan.OPS, **scatter.OPS, **search.OPS, **vision.OPS, **nn.OPS, **create.OPS, **slice.OPS}
host.register()
