"""The chip in torch and SGLang: torch device `rigi`, the op registry (`torch.ops.rigi.*`), the SGLang platform.

Importing this package imports nothing heavy. `import torch` loads the device by entry point (`torch.backends`); from a checkout
that is not installed, `import sglang_ext.device` does. Nothing here imports TVM: kernels arrive as packaged modules.
"""
