"""Progress of long computations: a bar in the terminal, also from a notebook, and a note for other processes.

Where the standard error is no terminal, as in a job's log, a line now and then takes the place of the bar.
"""

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
SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """Tells how far a computation is. Call it with the steps done; it finishes at `total`.

    label: what is computed, in a few words.
    folder: the run's work folder, which gets the note; it is removed with the folder.
    """

    def __init__(self, label: str, total: int, folder: Path):
        self._label, self._total, self._note = label, total, folder / NOTE
        self._bar = _bar(label, total, leave=False)

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
    bars: dict[str, tqdm | _Lines] = {}
    while not until():
        for note in notes(runs_folder):
            label = note["label"]
            if label not in bars:
                bars[label] = _bar(label, note["total"], initial=note["done"], position=len(bars))
            bars[label].update(note["done"] - bars[label].n)
        time.sleep(every)
    for bar in bars.values():
        bar.close()


class _Lines:
    """What a bar is asked for, in lines: one when a tenth more is done or a minute has passed, and one at the end."""

    def __init__(self, label: str, total: int, initial: int = 0):
        self._label, self._total, self.n = label, total, initial
        self._told, self._told_at = initial, time.monotonic()

    def update(self, steps: int) -> None:
        self.n += steps
        much, long = self.n - self._told >= self._total / 10, time.monotonic() - self._told_at >= SECONDS_BETWEEN_LINES
        if self.n > self._told and (much or long or self.n >= self._total):
            print(f"{self._label}: {self.n:,} of {self._total:,} steps", file=sys.stderr, flush=True)
            self._told, self._told_at = self.n, time.monotonic()

    def close(self) -> None:
        """Nothing: the last line stays."""


def _bar(label: str, total: int, initial: int = 0, **options) -> tqdm | _Lines:
    file = _terminal()
    # A notebook's standard error is not the process's own: its output must not depend on how long things take.
    if file is sys.__stderr__ and not file.isatty():
        return _Lines(label, total, initial)
    return tqdm(total=total, desc=label, unit="step", disable=None, file=file, initial=initial, **options)


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
