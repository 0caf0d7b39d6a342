"""Requests that steer the server (profiling, weights, memory, logging): one that fails, fails alone.

SGLang runs their handlers in the scheduler's loop, where any exception ends the scheduler and with it the server. Here a failure
becomes the request's reply: the reply types differ, but each has a field `rid` that control replies do not use, and it carries the
text to the HTTP process, which answers with it. What cannot work on this chip is refused before it reaches the scheduler.
"""

import logging
import math
import os
import sys
import typing
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from fastapi import HTTPException
from fastapi.responses import JSONResponse

from sglang_ext.serving import arguments
from sglang_ext.serving.hook import Hook

logger = logging.getLogger(__name__)

FAILED = "rigi failed: "  # begins the `rid` of a reply that carries an error
ACTIVITIES = ("CPU", "GPU")
LONGEST_SLEEP_S = 60.0

_MEMORY = "the emulated chip's memory is not given back while a model is served: stop the server instead"
_EXPERTS = "the chip's mixture-of-experts layers do not count their experts' tokens: `rigi profile` shows which kernels ran"
_GROUPS = "weights do not reach the chip through a process group: use /update_weights_from_disk or /update_weights_from_tensor"
REFUSED = {
    "release_memory_occupation": _MEMORY,
    "resume_memory_occupation": _MEMORY,
    "start_expert_distribution_record": _EXPERTS,
    "stop_expert_distribution_record": _EXPERTS,
    "dump_expert_distribution_record": _EXPERTS,
    "init_weights_update_group": _GROUPS,
    "destroy_weights_update_group": _GROUPS,
    "update_weights_from_distributed": _GROUPS,
    "update_weights_from_ipc": _GROUPS,
    "init_weights_send_group_for_remote_instance": _GROUPS,
    "send_weights_to_remote_instance": _GROUPS,
}


def guard_dispatcher(result: None, scheduler: Any) -> None:
    """After the scheduler has made its table of handlers: each of them is guarded."""
    table = scheduler._request_dispatcher._mapping
    for kind, handler in table.items():
        table[kind] = partial(_guarded, scheduler, handler)


def _guarded(scheduler: Any, handler: Callable[[Any], Any], request: Any) -> Any:
    try:
        return handler(request)
    except Exception as error:
        logger.exception("%s failed; the server goes on", type(request).__name__)
        return _failure(scheduler, request, f"{type(error).__name__}: {error}")


def _failure(scheduler: Any, request: Any, text: str) -> Any:
    """The reply to a request whose handler failed, or None after the end of a generation request has been reported."""
    from sglang.srt.managers import io_struct

    name = type(request).__name__
    if name.startswith(("Tokenized", "BatchTokenized")):
        for one in getattr(request, "batch", [request]):
            reason = {"type": "abort", "status_code": 400, "message": text}
            scheduler.send_abort_output(io_struct.AbortReq(rid=one.rid, finished_reason=reason), one)
        return None
    reply = getattr(io_struct, name.removesuffix("Input") + "Output", None)
    if reply is None:
        return None  # nobody waits for one
    required = [f for f in msgspec.structs.fields(reply) if f.required]
    fields = {f.name: getattr(request, f.name, None) or _blank(f.type) for f in required}  # a session's id names who waits
    return reply(**fields | {"rid": FAILED + text})


def _blank(kind: Any) -> Any:
    """The emptiest value of a type: None where it is allowed, else False, 0, "", [] or {}."""
    if type(None) in typing.get_args(kind):
        return None
    return (typing.get_origin(kind) or kind)()


async def raise_failures(original: Callable[..., Awaitable[list[Any]]], *args: Any, **kwargs: Any) -> list[Any]:
    """Around a call of the HTTP process to the schedulers: a reply that carries an error becomes an answer with status 400."""
    replies = await original(*args, **kwargs)
    for reply in replies:
        if (reply.rid or "").startswith(FAILED):
            _refuse(reply.rid.removeprefix(FAILED))
    return replies


class Refused(HTTPException):
    """Status 400 with a text, which routes that answer with `str(error)` and callers of the Engine see as well."""

    def __str__(self) -> str:
        return str(self.detail)


def _refuse(text: str) -> typing.NoReturn:
    raise Refused(400, text)


def _refuse_call(name: str, *_: Any, **__: Any) -> None:
    _refuse(f"Rigi does not serve /{name}: {REFUSED[name]}.")


def check_profile(manager: Any, request: Any = None) -> None:
    """Before profiling starts: its activities, and that its folder can be written (it is written from the scheduler's loop)."""
    if request is None:
        return
    unknown = [name for name in request.activities or () if name not in ACTIVITIES]
    if unknown:
        _refuse(f"activities {unknown}: Rigi records {list(ACTIVITIES)}. `rigi profile -- COMMAND` shows the chip's engines and memory.")
    folder = Path(request.output_dir or os.environ.get("SGLANG_TORCH_PROFILER_DIR", "/tmp")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _refuse(f"output_dir {str(folder)!r} cannot be made: {error}. Name a folder that the server may write.")
    if not os.access(folder, os.W_OK):
        _refuse(f"output_dir {str(folder)!r} cannot be written by the server. Name another one.")


async def explain_profile(original: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    """Around starting and stopping a profile: "not in progress" and "in progress" are the client's errors."""
    try:
        return await original(*args, **kwargs)
    except RuntimeError as error:
        _refuse(str(error))


def survive_profile(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Around starting and stopping a profile in the scheduler, which also happens between two forwards."""
    from sglang.srt.managers.io_struct import ProfileReqOutput

    try:
        return original(*args, **kwargs)
    except Exception as error:
        logger.exception("profiling failed; the server goes on")
        args[0].profile_in_progress = False
        return ProfileReqOutput(success=False, message=f"{type(error).__name__}: {error}")


def check_weights_path(manager: Any, request: Any, *_: Any) -> None:
    """Before weights are loaded from a folder."""
    try:
        arguments.check_model_path("model_path", request.model_path)
    except ValueError as error:
        _refuse(str(error))


def explain_errors(result: None, manager: Any, *_: Any, **__: Any) -> None:
    """After the HTTP process has made its manager: what a route lets through is answered with its text."""
    server = sys.modules.get("sglang.srt.entrypoints.http_server")
    if server is None:
        return  # an Engine without HTTP

    async def answer(request: Any, error: Exception) -> Any:
        status = 400 if isinstance(error, ValueError | TypeError) else 500
        return JSONResponse(
            {"error": {"message": f"{type(error).__name__}: {error}", "type": type(error).__name__, "code": status}}, status
        )

    server.app.add_exception_handler(Exception, answer)


def check_sleep(manager: Any, request: Any, *_: Any) -> None:
    """Before the scheduler is slowed down: it would sleep that long before each forward."""
    seconds = request.forward_sleep_time
    if seconds is not None and not (math.isfinite(seconds) and 0 <= seconds <= LONGEST_SLEEP_S):
        _refuse(f"forward_sleep_time is {seconds}; it is a number of seconds from 0 to {LONGEST_SLEEP_S:g}, or null.")


_MANAGER = "sglang.srt.managers.tokenizer_manager.TokenizerManager"
_PROFILER = "sglang.srt.managers.scheduler_components.profiler_manager.SchedulerProfilerManager"
HOOKS = (
    Hook(
        "sglang.srt.managers.scheduler.Scheduler.init_request_dispatcher", "after", guard_dispatcher,
        "an exception in the handler of any request ends the server",
    ),
    Hook(
        "sglang.srt.managers.communicator.FanOutCommunicator.__call__", "around", raise_failures,
        "some reply types have no place for an error",
    ),
    Hook(f"{_MANAGER}.start_profile", "before", check_profile, "profilers of other devices end the server"),
    Hook(f"{_MANAGER}._execute_profile", "around", explain_profile, "its errors are answered with 500 and no text"),
    *(Hook(f"{_PROFILER}.{name}", "around", survive_profile, "ends the server") for name in ("_start_profile", "_stop_profile")),
    Hook(f"{_MANAGER}.__init__", "after", explain_errors, "the server's app is at hand"),
    Hook(f"{_MANAGER}.update_weights_from_disk", "before", check_weights_path, "takes a folder that is not there for a hub's name"),
    Hook(f"{_MANAGER}.slow_down", "before", check_sleep, "a negative time ends the server"),
    *(
        Hook(f"{_MANAGER}.{name}", "before", partial(_refuse_call, name), "ends or blocks the server, or says success and does nothing")
        for name in REFUSED
    ),
)  # fmt: skip
