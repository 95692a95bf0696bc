"""Progress: notes that another process reads about a computation under way, and lines where there is no terminal."""

import io
import subprocess
import sys
from types import SimpleNamespace

import pytest

from paperlib.repro import paths
from paperlib.repro import progress as progress_module
from paperlib.repro.progress import NOTE, TERMINAL_VARIABLE, Progress, notes


def test_a_note_says_how_far_a_computation_is(tmp_path):
    folder = tmp_path / "unfinished" / "experiment" / "run"
    folder.mkdir(parents=True)
    progress = Progress("three runs", 10, folder)
    progress(0)
    progress(4)
    assert list(notes(tmp_path)) == [{"label": "three runs", "done": 4, "total": 10}]


def test_a_note_being_written_is_passed_over(tmp_path):
    folder = tmp_path / "unfinished" / "experiment" / "run"
    folder.mkdir(parents=True)
    (folder / NOTE).write_text('{"label": "thr')
    assert list(notes(tmp_path)) == []


@pytest.fixture
def log(monkeypatch):
    """As in a job without a terminal: what is written to the standard error; the clock stands still until told."""
    monkeypatch.delenv(TERMINAL_VARIABLE, raising=False)
    stream, clock = io.StringIO(), [0.0]
    monkeypatch.setattr(progress_module, "sys", SimpleNamespace(stderr=stream, __stderr__=stream))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])

    def lines(later=0.0):
        clock[0] += later
        return stream.getvalue().splitlines()

    return lines


def test_without_a_terminal_a_line_tells_of_every_tenth_and_of_the_end(log, tmp_path):
    progress = Progress("three runs", 10_000, tmp_path)
    for done in range(0, 10_001, 50):
        progress(done)
    assert log() == [f"three runs: {done:,} of 10,000 steps" for done in range(1000, 10_001, 1000)]


def test_without_a_terminal_a_line_tells_of_every_minute(log, tmp_path):
    progress = Progress("three runs", 10_000, tmp_path)
    for done in range(1, 8):
        log(later=20.0)
        progress(done)
    assert log() == ["three runs: 3 of 10,000 steps", "three runs: 6 of 10,000 steps"]


def test_a_resumed_computation_tells_of_its_end_once(log, tmp_path):
    progress = Progress("three runs", 100, tmp_path)
    progress(95)
    progress(100)
    progress(100)
    assert log() == ["three runs: 95 of 100 steps", "three runs: 100 of 100 steps"]


def test_a_notebook_gets_no_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(TERMINAL_VARIABLE, raising=False)  # captured like a kernel's: not the process's own stream
    Progress("three runs", 10, tmp_path)(10)
    assert capsys.readouterr().err == ""


def test_a_process_without_a_terminal_writes_its_lines_into_the_log(tmp_path):
    program = f"from paperlib.repro.progress import *; Progress('a run', 4, Path({str(tmp_path)!r}))(4)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, cwd=paths.project_folder(), check=True)
    assert (done.stdout, done.stderr) == ("", "a run: 4 of 4 steps\n")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[1]",
        b"{}",
        b"\xff\xfe",
        b'{"label": "runs", "done": 1}',
        b'{"label": "runs", "done": null, "total": 3}',
        b'{"label": "runs", "done": "1", "total": 3}',
        b'{"label": "runs", "done": NaN, "total": 3}',
        b'{"label": ["runs"], "done": 1, "total": 3}',
        b"[" * 100_000,
    ],
)
def test_an_odd_note_is_passed_over_and_the_others_are_read(tmp_path, content):
    for name in ("a", "b"):
        (tmp_path / "unfinished" / "experiment" / name).mkdir(parents=True)
    (tmp_path / "unfinished" / "experiment" / "a" / NOTE).write_bytes(content)
    Progress("three runs", 10, tmp_path / "unfinished" / "experiment" / "b")(4)
    assert list(notes(tmp_path)) == [{"label": "three runs", "done": 4, "total": 10}]


def test_a_note_that_cannot_be_read_is_passed_over(tmp_path):
    folder = tmp_path / "unfinished" / "experiment"
    (folder / "a" / NOTE).mkdir(parents=True)
    (folder / "b").mkdir()
    (folder / "b" / NOTE).symlink_to(folder / "b" / NOTE)
    assert list(notes(tmp_path)) == []
