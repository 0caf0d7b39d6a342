"""Profiles of what ran on a Rigi device: `read` the profiler's files, `aggregate` them into a table's rows, and draw them.

`perfetto_file` makes a trace for ui.perfetto.dev, `roofline` a picture, `instructions` summarises instruction traces; `cli` has the
commands `rigi profile` and `rigi trace`. Everything is in simulated time and comes from the files alone: no device is needed to read
them. What the words mean is in the manual, section "Profile".
"""

from .aggregate import ENGINES, STALLS, aggregate
from .reader import Profile, ProfileError, read

__all__ = ["ENGINES", "STALLS", "Profile", "ProfileError", "aggregate", "read"]
