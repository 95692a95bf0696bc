"""Executing one notebook into the build folder."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import papermill

from paperlib.repro import paths
from paperlib.repro.catalogue import CatalogueEntry
from paperlib.repro.kernels import PrivateKernelManager, kernel_environment
from paperlib.repro.pipeline import executed_profile
from paperlib.repro.profiles import Profile
from paperlib.repro.progress import name_terminal


class NotebookFailed(RuntimeError):
    """A notebook raised an error; its outputs up to there are in `partial`."""

    def __init__(self, name: str, partial: Path, message: str):
        super().__init__(f"{name} failed: {message}\n  outputs up to the error: {partial}")
        self.partial = partial


def execute(entry: CatalogueEntry, profile: Profile) -> Path:
    """Execute a notebook into the build folder, with a progress bar on a terminal; returns the executed notebook.

    Earlier results of the notebook are removed first, so that no verdict of an older version survives. Raises
    NotebookFailed, with the partial outputs kept.
    """
    executed, failed = paths.executed_notebook(entry.name), paths.failed_notebook(entry.name)
    unfinished = paths.unfinished_notebook(entry.name)
    for earlier in (executed, failed, unfinished, paths.verdicts_file(entry.name)):
        earlier.unlink(missing_ok=True)
    if executed_profile(entry) != profile.name:
        paths.write_atomically(paths.profile_stamp(entry.name), profile.name + "\n")
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    begin = time.time_ns()
    unfinished.write_bytes(entry.source.read_bytes())
    try:
        with _kernel_environment(profile):
            _execute_into(entry, profile, unfinished)
    except Exception as error:
        os.replace(unfinished, failed)
        raise NotebookFailed(entry.name, failed, str(error).strip()) from error
    # An input that changed while the notebook ran leaves it out of date.
    os.utime(unfinished, ns=(begin, begin))
    os.replace(unfinished, executed)
    return executed


def _execute_into(entry: CatalogueEntry, profile: Profile, output: Path) -> None:
    papermill.execute_notebook(
        entry.source,
        output,
        parameters={"profile": profile.name},
        kernel_name="python3",
        kernel_manager_class=PrivateKernelManager,
        # What goes wrong in a notebook is in the notebook; a kernel that is interrupted complains about its sockets.
        extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        cwd=entry.source.parent,
        progress_bar={"desc": entry.name, "disable": None},
    )


@contextmanager
def _kernel_environment(profile: Profile) -> Iterator[None]:
    """What the kernel inherits.

    The notebook obeys PAPERLIB_PROFILE before its parameter, so both must say the same. One thread, unless
    OMP_NUM_THREADS says otherwise: results do not depend on the number of cores then, the notebooks' small matrices
    gain nothing from more, and two notebooks can share the cores.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    wanted = {"PAPERLIB_PROFILE": profile.name, "OMP_NUM_THREADS": threads, **name_terminal()}
    with kernel_environment(wanted):
        yield
