"""Lets `import torchvision` (and so transformers and SGLang) work with PyTorch's CPU build.

torchvision's wheel registers fake implementations for two of its operators when imported; their schemas come from its native
half, which links CUDA and does not load here. Defining the schemas first is enough: nothing of ours calls them.
"""

import torch

_library = torch.library.Library("torchvision", "FRAGMENT")


def define() -> None:
    """Idempotent; call it before the first import of torchvision, transformers or sglang."""
    for op in ("nms", "qnms"):
        if not _exists(f"torchvision::{op}"):
            _library.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _exists(name: str) -> bool:
    try:
        return torch._C._dispatch_find_schema_or_throw(name, "") is not None
    except RuntimeError:
        return False
