"""Progress notes: what another process reads about a computation under way."""

import pytest

from paperlib.repro.progress import NOTE, Progress, notes


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
