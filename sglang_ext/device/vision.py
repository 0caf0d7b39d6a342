"""Lets `import torchvision`, and so transformers and SGLang, work where torchvision's native half does not load.

torchvision registers fake implementations of two operators when it is imported, even if the library that defines the operators could
not be loaded: its wheel links CUDA, PyTorch's CPU build has none. Schemas for the two are enough, nothing here calls them. They are
defined at the moment when torchvision asks, and only where its own are missing: a definition made earlier would forbid its own.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType

import torch

_ASKS = "torchvision._meta_registrations"
_library = torch.library.Library("torchvision", "FRAGMENT")


class _Finder(MetaPathFinder):
    """Finds nothing; notices that torchvision is being imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == _ASKS:
            sys.meta_path.remove(self)
            importlib.import_module("torchvision.extension")  # loads the native half, if it can be
            _define_missing()


def _define_missing() -> None:
    for op in ("nms", "qnms"):
        if not _exists(f"torchvision::{op}"):
            _library.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _exists(name: str) -> bool:
    try:
        return torch._C._dispatch_find_schema_or_throw(name, "") is not None
    except RuntimeError:
        return False


def install() -> None:
    """Costs a string comparison for each module that is imported, until torchvision is."""
    sys.meta_path.insert(0, _Finder())
