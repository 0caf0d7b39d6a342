"""The counted fallback: aten ops that ran on the host because the chip has no kernel for them."""

from sglang_ext import _C


def fallbacks() -> dict[str, int]:
    """Calls that ran on the host, by operator name, since the process began or `reset_fallbacks`.

    `aten::_copy_from(convert)` and `aten::_copy_from(strided)` are copies on the chip that change dtype or layout.
    Views, allocations and plain copies never count.
    """
    return _C.fallback_counts()


def reset_fallbacks() -> None:
    _C.reset_fallback_counts()


def fallback_mode() -> str:
    """ "allow", "warn" (once per op) or "error"; at start from RIGI_FALLBACK."""
    return _C.fallback_mode()


def set_fallback_mode(mode: str) -> str:
    """Sets the mode for the whole process; returns the previous one. Raises ValueError for an unknown mode."""
    previous = _C.fallback_mode()
    _C.set_fallback_mode(mode)
    return previous
