"""Virtual devices: modules that say where a tensor lies (`R.to_vdevice`, I.vdevice), on the chip and beside the host."""

import numpy as np
import pytest
import tvm
from tvm import relax

DEVICE, HOST = tvm.device("ext_dev", 0), tvm.cpu()


def module(devices: str, there: str) -> tvm.IRModule:
    """-exp(x), computed on the virtual device `there`."""
    return tvm.script.from_source(f"""

@I.ir_module
class Module:
    I.module_global_infos({{"vdevice": [{devices}]}})

    @R.function
    def main(x: R.Tensor((4, 8), "float32")):
        with R.dataflow():
            moved = R.to_vdevice(x, "{there}")
            y = R.negative(R.exp(moved))
            R.output(y)
        return y
""")


CHIP, BOTH, TURNED = 'I.vdevice("rigi1")', 'I.vdevice("llvm"), I.vdevice("rigi1")', 'I.vdevice("rigi1"), I.vdevice("llvm")'


@pytest.mark.parametrize("there", ["rigi1:0", "rigi1", "ext_dev:0"])
@pytest.mark.parametrize("devices, order", [(CHIP, [DEVICE]), (BOTH, [HOST, DEVICE]), (TURNED, [DEVICE, HOST])])
def test_tensors_are_moved_to_a_chip_by_its_name(devices: str, order: list, there: str) -> None:
    x = np.linspace(-1, 1, 32, dtype="float32").reshape(4, 8)
    source = module(devices, there)
    again = tvm.script.from_source(source.script())  # a printed module is the same
    machine = relax.VirtualMachine(tvm.compile(again if there == "rigi1" else source, target="rigi1"), order)
    for place in (HOST, DEVICE):
        y = machine["main"](tvm.runtime.tensor(x, place))
        assert y.device == DEVICE
        np.testing.assert_allclose(y.numpy(), -np.exp(x), rtol=1e-6)


def test_devices_in_another_order_than_the_modules_are_refused() -> None:
    machine = relax.VirtualMachine(tvm.compile(module(BOTH, "rigi1:0"), target="rigi1"), [DEVICE, HOST])
    with pytest.raises(ValueError, match=r"(?s)device_type.*expected ext_dev"):
        machine["main"](tvm.runtime.tensor(np.zeros((4, 8), "float32"), DEVICE))
    assert DEVICE.sync() is None


@pytest.mark.parametrize("there", ["rigi1:1", "cuda:0"])
def test_a_device_that_is_not_in_the_modules_list_is_refused(there: str) -> None:
    with pytest.raises(tvm.error.DiagnosticError, match="target VDevice in the GlobalInfos was not found|no virtual device"):
        module(CHIP, there)
