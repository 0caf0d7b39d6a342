"""The kernel library: TVMScript in the dialect `R`, a file for each op, each with its list `KERNELS` (see `tvm_target.package`).

A kernel may know the chip and its own tiles, nothing of torch or of the models that use it.
"""
