"""Which files and folders under data/ an execution reads: their change makes it out of date, that of others does not.

The kernel of an executed notebook, and every process of paperlib that it starts, notes what it opens and lists.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paperlib.repro import paths

VARIABLE = "PAPERLIB_DATA_READS"
"""Names the file that a process notes its reads in."""

_EVENTS = ("open", "os.listdir", "os.scandir")


@contextmanager
def noted_in(file: Path) -> Iterator[None]:
    """Processes started in this block note their reads in `file`, which must exist."""
    os.environ[VARIABLE] = str(file)
    try:
        yield
    finally:
        del os.environ[VARIABLE]


def noted(file: Path) -> list[str]:
    """The paths in the file, relative to the project."""
    return sorted({f"data/{line}".rstrip("/") for line in file.read_text(errors="surrogateescape").splitlines()})


def note_from_here() -> None:
    """Note the reads of this process if it was told to; called when `paperlib.repro` is imported."""
    if VARIABLE in os.environ:
        sys.addaudithook(_Noting(os.environ[VARIABLE]))


class _Noting:
    """An audit hook, which Python calls before it opens or lists anything, whether or not that is there."""

    def __init__(self, file: str):
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        data = str(paths.data_folder())
        self._roots = {data, os.path.realpath(data)}
        self._seen: set[str] = set()

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in _EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        for root in self._roots:
            if path == root or path.startswith(root + os.sep):
                self._note(path[len(root) + 1 :])

    def _note(self, path: str) -> None:
        if path not in self._seen:
            self._seen.add(path)
            os.write(self._descriptor, f"{path}\n".encode(errors="surrogateescape"))
