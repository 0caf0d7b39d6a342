"""torch device `rigi`: what `torch.rigi` is, and how torch gets to know the device.

`import torch` calls `_autoload` (entry point `torch.backends`); `import sglang_ext.device` has the same effect without an
installed package. Only Python lives here; the native part is `sglang_ext/csrc`.
"""

import atexit
import warnings

_done = False


def setup() -> None:
    """Registers the device, the module `torch.rigi`, the ops and the collectives; once. Raises ImportError where `_C` is not built."""
    global _done
    import torch  # may come back here through _autoload

    if _done:
        return
    try:
        import sglang_ext._C  # registers allocator, guard, hooks and aten kernels
    except ImportError as error:
        raise ImportError(f"the torch device 'rigi' has no usable native part (sglang_ext._C): {error}. Run `make build`.") from error
    _done = True
    atexit.register(sglang_ext._C.wait_for_autograd)
    torch.utils.rename_privateuse1_backend("rigi")
    from sglang_ext.device import distributed, dlpack, inductor, losses, module, printing, vision

    torch._register_device_module("rigi", module)
    torch.utils.generate_methods_for_privateuse1_backend(for_storage=True)
    dlpack.patch()
    losses.patch()
    printing.patch()
    inductor.patch()
    vision.install()
    distributed.register()
    from sglang_ext import ops

    ops.register()


def _autoload() -> None:
    """Entry point of `torch.backends`. A package that is not built yet must not make `import torch` fail."""
    try:
        setup()
    except ImportError as error:
        warnings.warn(str(error), stacklevel=2)


_autoload()
