"""What a hook into SGLang is; the hooks themselves stand beside what they mend, and `hooks.py` collects and registers them."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple


class Hook(NamedTuple):
    """`function` runs before, after, around or instead of the function at the dotted path `target`; `why` says why no seam does."""

    target: str
    kind: Literal["before", "after", "around", "replace"]
    function: Callable[..., Any]
    why: str
