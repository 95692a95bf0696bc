"""Progress notes: what another process reads about a computation under way."""

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
