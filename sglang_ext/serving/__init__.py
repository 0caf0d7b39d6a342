"""Serving on Rigi through SGLang: the model folders, the attention backend, fused ops, sampler, step log and the demo.

Here lives what SGLang sees of the chip (see also ``sglang_ext.platform``) and the commands ``rigi model`` and ``rigi demo``.
No kernels and no device code: those are reached through ``torch.ops.rigi`` only. Nothing here imports TVM.
"""
