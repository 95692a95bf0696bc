"""Checkpoints in sealed files: a file that is not, byte for byte, what this code would write and read is never used.

A sealed file is a first line that names the format, the SHA-256 of all that follows, a line of JSON that says what the
content is about, and the content. It is written beside its place, flushed to the disk and renamed, so that a reader
finds the earlier file or the whole new one.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from paperlib.repro.provenance import PACKAGES

T = TypeVar("T")

_FORMAT = b"paperlib sealed file 1\n"
_DIGEST_BYTES = 64
_CHUNK = 1 << 20


class SetAsideWarning(UserWarning):
    """A sealed file cannot be used; it was renamed, and counts as missing."""


class _Unusable(Exception):
    """Why a sealed file cannot be used."""


def write(path: Path, about: Mapping[str, Any], save: Callable[[Any], object]) -> None:
    """Put a sealed file at `path`.

    about: what a reader must agree with, in JSON's types; the versions of the installed packages are added.
    save: writes the content to the file it is given, from start to end (it cannot seek).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    with open(partial, "wb") as file:
        file.write(_FORMAT + bytes(_DIGEST_BYTES) + b"\n")
        hashing = _Hashing(file)
        hashing.write(_header(about))
        save(hashing)
        file.seek(len(_FORMAT))
        file.write(hashing.digest.hexdigest().encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def read(path: Path, about: Mapping[str, Any], load: Callable[[BinaryIO], T]) -> T | None:
    """What `load` makes of the content of the sealed file at `path`, or None where there is none.

    A file that is damaged, is about something else, or that `load` fails on is renamed to <name>.unusable with one
    SetAsideWarning that says why, and None is given. What a killed writer left half written is removed.
    """
    _partial(path).unlink(missing_ok=True)
    if not os.path.lexists(path):
        return None
    try:
        with open(path, "rb") as file:
            _check(file, about)
            return load(file)
    except MemoryError:
        raise
    except _Unusable as error:
        reason = str(error)
    except Exception as error:  # loading raises whatever the content leads to
        reason = f"cannot be read ({type(error).__name__}: {error})".replace("\n", " ")
    aside = path.with_name(f"{path.name}.unusable")
    os.replace(path, aside)
    warnings.warn(f"{path} {reason}; renamed to {aside.name}, starting anew", SetAsideWarning, stacklevel=3)
    return None


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _header(about: Mapping[str, Any]) -> bytes:
    return (json.dumps({**about, "versions": _versions()}, sort_keys=True) + "\n").encode()


def _versions() -> dict[str, str]:
    """Of the packages whose numbers may change with their version."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _check(file: BinaryIO, about: Mapping[str, Any]) -> None:
    """Leave the file at the start of its content, or raise _Unusable."""
    if file.readline(len(_FORMAT)) != _FORMAT:
        raise _Unusable("is of another format")
    written = file.readline(_DIGEST_BYTES + 1)
    digest, start = hashlib.sha256(), file.tell()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    if written != digest.hexdigest().encode() + b"\n":
        raise _Unusable("is damaged: it does not match its checksum")
    file.seek(start)
    if (header := file.readline()) != _header(about):
        raise _Unusable(f"is about something else: {_differences(json.loads(header), json.loads(_header(about)))}")


def _differences(then: Mapping, now: Mapping, prefix: str = "") -> str:
    """The entries that differ, as "compiled was true, is false"."""
    parts = []
    for name in sorted(then.keys() | now.keys()):
        one, other = then.get(name), now.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            parts.append(_differences(one, other, f"{prefix}{name}."))
        elif json.dumps(one) != json.dumps(other):
            parts.append(f"{prefix}{name} was {json.dumps(one)}, is {json.dumps(other)}")
    return ", ".join(part for part in parts if part)


class _Hashing:
    """A file to write to, which adds what is written to a digest."""

    def __init__(self, file: BinaryIO):
        self._file, self.digest = file, hashlib.sha256()

    def write(self, data) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()
