"""Workers: they end with the process that started them, whatever ends it, and the first failure stops the rest."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from paperlib.repro import workers
from paperlib.repro.workers import side_by_side

# A shell that starts the tests in the background has its children ignore some signals.
STARTING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.path.insert(0, {tests!r})
from pathlib import Path
import test_workers
{where}
from paperlib.repro.workers import side_by_side
folder = Path({folder!r})
side_by_side(test_workers.note_and_sleep, [(folder, "one"), (folder, "two")], folder, workers=2)
"""


def note_and_sleep(folder: Path, name: str) -> None:
    (folder / name).touch()
    time.sleep(3600)


def note_or_fail(folder: Path, name: str) -> None:
    if name == "failing":
        while not (folder / "one").exists():
            time.sleep(0.01)
        raise RuntimeError("deliberate failure")
    note_and_sleep(folder, name)


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited for two minutes"
        time.sleep(0.02)


def begin_elsewhere(*arguments) -> None:
    """What a worker begins with on a system that has no PR_SET_PDEATHSIG."""
    sys.platform = "elsewhere"
    workers._begin_worker(*arguments)


ELSEWHERE = "from paperlib.repro import workers; workers._begin_worker = test_workers.begin_elsewhere"


@pytest.mark.parametrize(
    ("how", "where"),
    [
        *((how, "") for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)),
        (signal.SIGKILL, ELSEWHERE),
    ],
)
def test_workers_end_with_their_parent(tmp_path, how, where):
    script = STARTING.format(tests=str(Path(__file__).parent), folder=str(tmp_path), where=where)
    children = []
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as parent:
        try:
            until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists())
            children = psutil.Process(parent.pid).children(recursive=True)
            assert len(children) >= 2
            parent.send_signal(how)
            assert parent.wait(60) != 0
            assert psutil.wait_procs(children, timeout=60)[1] == []
        finally:
            for process in (parent, *children):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


def test_the_first_failure_stops_the_rest(tmp_path):
    with pytest.raises(RuntimeError, match="deliberate failure"):
        side_by_side(note_or_fail, [(tmp_path, "one"), (tmp_path, "failing")], tmp_path, workers=2)
    ours = psutil.Process().children(recursive=True)
    assert not [process for process in ours if "spawn_main" in " ".join(process.cmdline())]
