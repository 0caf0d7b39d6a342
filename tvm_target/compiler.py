"""The host's C++ compiler, for kernels: found through $CXX or on PATH, its results cached by what went in.

Cache: `$RIGI_CACHE` or `~/.cache/rigi`, one file an object, named by the hash of all that went in (source, headers, compiler, flags) and
sealed with its own.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from .target import sdk_root

FLAGS = ("-std=c++20", "-O2", "-fwrapv", "-shared", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra")
# A kernel of many instructions: each is a call of an inline function, and g++ takes seconds to optimize hundreds of them in one body.
MANY = 256
FLAGS_MANY = (*FLAGS, "-O1", "-fno-inline")
_SEAL = hashlib.sha256().digest_size  # at the end of a kept file: the hash of what is before it
_CANDIDATES = ("g++", "c++", "clang++")


class CompilerError(RuntimeError):
    """No C++ compiler, or one that refused generated code."""


@cache
def find_compiler(wish: str | None = None) -> tuple[str, ...]:
    """The compiler's command: `wish` or $CXX if set, else the first of g++, c++, clang++. Raises CompilerError saying what to do."""
    wish = wish or os.environ.get("CXX")
    if wish:
        command = shlex.split(wish)
        found = shutil.which(command[0]) if command else None
        if found is None:
            others = ", ".join(_CANDIDATES)
            raise CompilerError(f"CXX={wish!r} names no program; set CXX to a C++20 compiler, or unset it to use one of {others}")
        return (found, *command[1:])
    for name in _CANDIDATES:
        found = shutil.which(name)
        if found:
            return (found,)
    raise CompilerError(
        f"no C++ compiler found (looked for {', '.join(_CANDIDATES)} on PATH): kernels are compiled to native code. "
        "Install one (Debian and Ubuntu: apt install g++; Fedora: dnf install gcc-c++), or set CXX to its path"
    )


@cache
def compiler_version(command: tuple[str, ...]) -> str:
    """The first line of `--version`."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CompilerError(f"{shlex.join(command)} --version failed: {error}") from error
    return done.stdout.splitlines()[0].strip() if done.stdout else shlex.join(command)


def cache_dir() -> Path:
    """Where objects are cached."""
    named = os.environ.get("RIGI_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "rigi"


@cache
def header_hash() -> str:
    """Hash of the headers that generated code includes."""
    digest = hashlib.sha256()
    for name in ("rigi_isa.h", "rigi_kernel.h"):
        digest.update((sdk_root() / "include" / name).read_bytes())
    return digest.hexdigest()


def source_hash(source: str) -> str:
    """Hash of generated code with the headers it is compiled against."""
    return hashlib.sha256((header_hash() + source).encode()).hexdigest()


def compile_source(source: str) -> bytes:
    """A shared object from C++ source. Raises CompilerError with the compiler's words if it refuses the code."""
    command = find_compiler(os.environ.get("CXX"))
    flags = FLAGS if source.count(" core.") <= MANY else FLAGS_MANY
    key = hashlib.sha256("\0".join([source_hash(source), compiler_version(command), *command, *flags]).encode()).hexdigest()
    cached = cache_dir() / "objects" / key[:2] / f"{key}.so"
    kept = kept_bytes(cached)
    if kept is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="rigi-") as folder:
        file, output = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        file.write_text(source)
        line = [*command, *flags, "-I", str(sdk_root() / "include"), "-o", str(output), str(file)]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != 0:
            raise CompilerError(f"{shlex.join(line)} failed with {done.returncode}:\n{done.stderr[-4000:]}")
        code = output.read_bytes()
    keep(cached, code)
    return code


def keep(path: Path, data: bytes) -> None:
    """Puts a file into the cache, sealed with its hash. Written beside and renamed, so that a reader never sees half of it; a cache that
    cannot be written is no error."""
    file = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data + hashlib.sha256(data).digest())
        os.replace(file.name, path)
    except OSError:
        if file is not None:  # half of it, on a full disk
            Path(file.name).unlink(missing_ok=True)


def kept_bytes(path: Path) -> bytes | None:
    """What `keep` put there; None if there is nothing, or the file is not what was written (cut short by a full disk, say): the caller
    makes it again."""
    try:
        sealed = path.read_bytes()
    except OSError:
        return None
    data, seal = sealed[:-_SEAL], sealed[-_SEAL:]
    return data if hashlib.sha256(data).digest() == seal else None
