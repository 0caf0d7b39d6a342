"""A model that cannot be loaded ends its engine with one text, in the process that the user started.

SGLang's scheduler process answers an error at load by a signal on which its parent kills itself: a user sees "Killed", and a program
that asked for an Engine is gone. Here the scheduler ends in order; its parent then raises RuntimeError with the scheduler's text.
"""

import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sglang_ext.serving.hook import Hook
from sglang_ext.serving.model_check import ModelRefused
from sglang_ext.serving.model_folder import rigi_home

logger = logging.getLogger(__name__)


def _note(pid: int) -> Path:
    """Where a scheduler process leaves the text for its parent."""
    return rigi_home() / "logs" / f"load-error-{pid}.txt"


def in_scheduler(original: Callable[..., None], *arguments: Any, **options: Any) -> None:
    """Hook around Scheduler.__init__: an error leaves its text for the parent and ends the process with exit code 1."""
    try:
        original(*arguments, **options)
    except Exception as error:
        if not isinstance(error, ModelRefused):
            logger.error("the scheduler could not start: %s", traceback.format_exc())
        text = f"{type(error).__name__}: {error}"
        note = _note(os.getpid())
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(text)
        raise SystemExit(text) from error


def in_parent(original: Callable[..., RuntimeError], rank: int, process: Any) -> RuntimeError:
    """Hook around `_scheduler_died_error`: the error with the scheduler's text, if it left one."""
    error = original(rank, process)
    note = _note(process.pid)
    try:
        text = note.read_text()
    except FileNotFoundError:
        return error
    note.unlink(missing_ok=True)
    return RuntimeError(text)


HOOKS = (
    Hook(
        "sglang.srt.managers.scheduler.Scheduler.__init__", "around", in_scheduler,
        "an error at load makes the parent process kill itself, without the reason",
    ),
    Hook("sglang.srt.entrypoints.engine._scheduler_died_error", "around", in_parent, "does not know the reason"),
)  # fmt: skip
