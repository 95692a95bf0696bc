"""Executing one notebook into the build folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import papermill

from paperlib.repro import paths
from paperlib.repro.catalogue import CatalogueEntry
from paperlib.repro.kernels import PrivateKernelManager, kernel_environment
from paperlib.repro.pipeline import recorded
from paperlib.repro.profiles import Profile
from paperlib.repro.progress import name_terminal

_PATIENCE = 600
"""Seconds to wait for a kernel to start, and for the last outputs of a cell. The usual 60 and 4 are too few on a busy
machine, where they made notebooks fail that have no fault."""


class NotebookFailed(RuntimeError):
    """A notebook raised an error; its outputs up to there are in `partial`."""

    def __init__(self, name: str, partial: Path, message: str):
        super().__init__(f"{name} failed: {message}\n  outputs up to the error: {partial}")
        self.partial = partial


def execute(entry: CatalogueEntry, profile: Profile) -> Path:
    """Execute a notebook into the build folder, with a progress bar on a terminal; returns the executed notebook.

    Earlier results of the notebook are removed first, so that no verdict of an older version survives. Raises
    NotebookFailed, with the partial outputs kept. Call it in the notebook's `pipeline.turn`.
    """
    executed, failed = paths.executed_notebook(entry.name), paths.failed_notebook(entry.name)
    unfinished = paths.unfinished_notebook(entry.name)
    with recorded(entry, profile):
        paths.write_atomically(unfinished, entry.source.read_bytes())
        try:
            with _kernel_environment(entry.name, profile):
                _execute_into(entry, profile, unfinished)
        except Exception as error:
            # Verdicts recorded before the error are a failed notebook's, and count as none.
            paths.verdicts_file(entry.name).unlink(missing_ok=True)
            os.replace(unfinished, failed)
            raise NotebookFailed(entry.name, failed, str(error).strip()) from error
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
        start_timeout=_PATIENCE,
        iopub_timeout=_PATIENCE,
    )


@contextmanager
def _kernel_environment(notebook: str, profile: Profile) -> Iterator[None]:
    """What the kernel inherits.

    The notebook obeys PAPERLIB_PROFILE before its parameter, so both must say the same. One thread, unless
    OMP_NUM_THREADS says otherwise: results do not depend on the number of cores then, the notebooks' small matrices
    gain nothing from more, and two notebooks can share the cores.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    wanted = {"PAPERLIB_PROFILE": profile.name, "PAPERLIB_NOTEBOOK": notebook, "OMP_NUM_THREADS": threads}
    with kernel_environment(wanted | name_terminal()):
        yield
