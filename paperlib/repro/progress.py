"""Progress of long computations: a bar in the terminal, also from a notebook, and a note for other processes."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

NOTE = "progress.json"
TERMINAL_VARIABLE = "PAPERLIB_TERMINAL"


class Progress:
    """Tells how far a computation is. Call it with the steps done; it finishes at `total`.

    label: what is computed, in a few words.
    folder: the run's work folder, which gets the note; it is removed with the folder.
    """

    def __init__(self, label: str, total: int, folder: Path):
        self._label, self._total, self._note = label, total, folder / NOTE
        self._bar = tqdm(total=total, desc=label, unit="step", disable=None, file=_terminal(), leave=False)

    def __call__(self, done: int) -> None:
        self._bar.update(done - self._bar.n)
        self._note.write_text(json.dumps({"label": self._label, "done": done, "total": self._total}))
        if done >= self._total:
            self._bar.close()


def notes(runs_folder: Path) -> Iterator[dict]:
    """The notes of computations under way or interrupted: {label, done, total}."""
    for path in sorted(runs_folder.glob(f"unfinished/*/*/{NOTE}")):
        try:
            note = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError):
            continue  # being written, just finished, or damaged
        if _is_note(note):
            yield note


def _is_note(note: object) -> bool:
    return (
        isinstance(note, dict)
        and note.keys() == {"label", "done", "total"}
        and isinstance(note["label"], str)
        and all(type(note[name]) is int and note[name] >= 0 for name in ("done", "total"))
    )


def show_notes(runs_folder: Path, *, until: Callable[[], bool], every: float = 1.0) -> None:
    """A bar in the terminal for every computation that other processes note, until told to stop."""
    bars: dict[str, tqdm] = {}
    while not until():
        for note in notes(runs_folder):
            label = note["label"]
            if label not in bars:
                options = {"unit": "step", "disable": None, "file": _terminal(), "initial": note["done"]}
                bars[label] = tqdm(total=note["total"], desc=label, position=len(bars), **options)
            bars[label].update(note["done"] - bars[label].n)
        time.sleep(every)
    for bar in bars.values():
        bar.close()


def quiet() -> None:
    """No bars from this process: another one shows its notes."""
    os.environ[TERMINAL_VARIABLE] = os.devnull


def name_terminal() -> dict[str, str]:
    """The environment variable that lets a kernel's bars reach this process's terminal; empty without one."""
    return {TERMINAL_VARIABLE: os.ttyname(sys.stderr.fileno())} if sys.stderr.isatty() else {}


def _terminal() -> TextIO:
    """Where bars go: a kernel's standard error is the notebook, so the terminal is passed to it by name."""
    name = os.environ.get(TERMINAL_VARIABLE)
    if name is None:
        return sys.stderr
    try:
        return open(name, "w")
    except OSError:  # the terminal was closed
        return sys.stderr
