"""Ranges in a profile (``RIGI_PROFILE``): each forward is a "request", each decoder layer in it a "layer".

Without the variable nothing here is called, but for one test a forward. A forward serves a batch: its range names the requests in it.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

import sdk_sim
from sglang_ext import _C

_MOST_NAMED = 4
_current: "Forwards | None" = None


def wanted() -> bool:
    """Whether this process is profiled from its beginning."""
    return bool(os.environ.get("RIGI_PROFILE"))


class Forwards:
    """The range of the forward in flight; ranges belong to the stream on which the forward runs."""

    def __init__(self) -> None:
        self._open: AbstractContextManager[None] | None = None

    def begin(self, forward_batch: Any) -> None:
        """Called before a forward's first launch."""
        self.end()
        self._open = _range("request", _title(forward_batch))
        self._open.__enter__()

    def end(self) -> None:
        """Called after the forward's tokens have been sampled."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = None


def open_from_env() -> Forwards | None:
    """The process's forwards if it is profiled, else None."""
    global _current
    if _current is None and wanted():
        _current = Forwards()
    return _current


def end_current() -> None:
    """Ends the range of the forward in flight, if there is one."""
    if _current is not None:
        _current.end()


def mark_layers(model: Any) -> None:
    """Lets each decoder layer of a loaded SGLang model run in a range; for models whose layers are in `model.model.layers`."""
    decoder = getattr(model, "model", None)
    if hasattr(decoder, "rigi_plan"):
        decoder.rigi_plan = _RangedLayers(decoder.rigi_plan)  # type: ignore[union-attr]
        return
    for number, layer in enumerate(getattr(decoder, "layers", ())):
        if isinstance(layer, torch.nn.Module):
            _hook(layer, f"layer {number}")


class _RangedLayers(list[Any]):
    """A list; what is done with an element while iterating over it happens in that layer's range."""

    def __iter__(self) -> Iterator[Any]:
        for number, layer in enumerate(super().__iter__()):
            with _range("layer", f"layer {number}"):
                yield layer


def _hook(layer: torch.nn.Module, name: str) -> None:
    entered: list[AbstractContextManager[None]] = []

    def before(*_: Any) -> None:
        entered.append(_range("layer", name))
        entered[-1].__enter__()

    def after(*_: Any) -> None:
        entered.pop().__exit__(None, None, None)

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after, always_call=True)


def _range(kind: str, name: str) -> AbstractContextManager[None]:
    return sdk_sim.range(kind, name, _C.current_stream_handle(_C.current_device()))


def _title(forward_batch: Any) -> str:
    """ "decode of 2 requests (4f1c, 99ab)", "extend of 1 request, 37 tokens (4f1c)" """
    mode, requests = forward_batch.forward_mode, forward_batch.batch_size
    title = f"{'decode' if mode.is_decode() else 'extend' if mode.is_extend() else mode.name.lower()} of {requests} request"
    title += "s" if requests != 1 else ""
    if mode.is_extend():
        title += f", {forward_batch.positions.shape[0]} tokens"
    names = [str(name)[:8] for name in getattr(forward_batch, "rids", None) or ()]
    if names:
        title += f" ({', '.join(names[:_MOST_NAMED])}{', ...' if len(names) > _MOST_NAMED else ''})"
    return title
