"""PyTorch's own operator, module and optimizer databases on the device `rigi`, beside the CPU.

`cases.py` lists what is tried, `device.py` brings operands to the chip and compares results, `trial.py` makes a call on both, `checks.py`
runs an operator in all its ways, `modules.py` and `optimizers.py` the other databases, `allowed.py` says what the device may raise;
`worker.py`, `measure.py` and `command.py` make a bench of it.
"""
