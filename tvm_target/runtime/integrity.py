"""Whether a kernel library is whole. Mapping a damaged one would end the process, so it is looked at first.

`seal` appends a mark and the SHA-256 of what comes before it (the loader of the system ignores both). Libraries without a seal, as
plain `export_library` writes them, are only checked for being cut short or partly empty.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

_MARK = b"\nrigi-kernels:sha256\n"
_TRAILER = len(_MARK) + 32
_STRING_TABLE = 3  # sh_type


def seal(path: Path) -> None:
    """Appends the seal to a library just written."""
    with path.open("ab") as file:
        file.write(_MARK + hashlib.sha256(path.read_bytes()).digest())


def damage(path: str | os.PathLike[str]) -> str | None:
    """What is wrong with a library, or None."""
    data = Path(path).read_bytes()
    if data[-_TRAILER:-32] == _MARK:
        return None if hashlib.sha256(data[:-_TRAILER]).digest() == data[-32:] else "its contents do not match its checksum"
    return _elf_damage(data)


def _elf_damage(data: bytes) -> str | None:
    if len(data) < 64 or data[:5] != b"\x7fELF\x02":
        return "it is not a 64-bit ELF file"
    segments, sections = struct.unpack_from("<QQ", data, 32)
    segment_size, num_segments, section_size, num_sections, names = struct.unpack_from("<5H", data, 54)
    end = max(segments + segment_size * num_segments, sections + section_size * num_sections)
    if end <= len(data):
        # Of every segment: its place in the file, and its bytes there.
        end = max((sum(struct.unpack_from("<Q16xQ", data, segments + k * segment_size + 8)) for k in range(num_segments)), default=0)
    if end > len(data):
        return f"it has {len(data)} bytes where its headers say at least {end}"
    if num_sections and struct.unpack_from("<I", data, sections + names * section_size + 4)[0] != _STRING_TABLE:
        return "its table of sections is not filled in"
    return None
