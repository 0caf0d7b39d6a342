"""Random programs, compiled for the chip and held against NumPy: `rigi bench programs`, and a sample in the tests.

A program is TVMScript, so what fails can be printed and run by itself. `relax_programs` and `tir_programs` make them, each step with what
NumPy says of it; `check` compiles, runs and compares; `worker` is a process that may die. Nothing here imports torch.
"""
