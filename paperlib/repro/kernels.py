"""The kernels that notebooks run in: this checkout's code, none of the user's settings, no open ports."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager, KernelManager
from traitlets import HasTraits, default

from paperlib.repro import paths

NOT_INHERITED = ("MPLBACKEND", "PYTHONOPTIMIZE", "PYTHONSTARTUP", "PYTHONWARNINGS")
"""What would hide the figures, strip the assertions, run the user's code, or turn warnings into failures."""
_FOLDER_PREFIX = "paperlib-kernel-"
_LOCK = "alive"
_SECONDS_TO_MAKE_ONE = 60


class _OverOwnSockets(HasTraits):
    """Talks over Unix sockets in the folder of `kernel_environment`: any local user can listen to a TCP port."""

    @default("transport")
    def _ipc(self) -> str:
        return "ipc"

    @default("connection_file")
    def _in_own_folder(self) -> str:
        return os.path.join(os.environ["JUPYTER_RUNTIME_DIR"], f"{uuid4().hex[:8]}.json")


class BlockingPrivateKernelManager(_OverOwnSockets, KernelManager):
    """For nbval."""


class PrivateKernelManager(_OverOwnSockets, AsyncKernelManager):
    """Starts the Python that runs this program, whatever kernels the machine has registered under the name python3."""

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        # Without folders to look in, jupyter_client falls back to the kernel of its own environment.
        return KernelSpecManager(parent=self, kernel_dirs=[])


@contextmanager
def kernel_environment(wanted: dict[str, str]) -> Iterator[None]:
    """Change this process's environment to what kernels are to inherit: `wanted`, and no settings of the user's.

    Configuration, start-up files, connection files and sockets are looked for in a folder that only this user can
    read. It is removed at the end; one left by a killed process goes when the next begins.
    """
    earlier = dict(os.environ)
    search = os.pathsep.join([str(paths.project_folder()), *filter(None, [os.environ.get("PYTHONPATH")])])
    with _own_folder() as folder:
        for name in NOT_INHERITED:
            os.environ.pop(name, None)
        folders = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        ours = {"PYTHONPATH": search, "TORCHINDUCTOR_CACHE_DIR": str(paths.compiled_folder())}
        os.environ.update(wanted | dict.fromkeys(folders, str(folder)) | ours)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(earlier)


@contextmanager
def _own_folder() -> Iterator[Path]:
    _remove_leftovers()
    # Paths of sockets have about 100 characters, so not in the build folder.
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    try:
        with open(folder / "new", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.rename(folder / "new", folder / _LOCK)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove this user's folders whose process is dead."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        with suppress(OSError):  # in use, or just removed
            if folder.lstat().st_uid == os.getuid():
                _remove_unless_in_use(folder)


def _remove_unless_in_use(folder: Path) -> None:
    """BlockingIOError where a living process holds the lock; without one the folder is being made, or its rest."""
    if (folder / _LOCK).exists():
        with open(folder / _LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
    elif time.time() - folder.stat().st_mtime > _SECONDS_TO_MAKE_ONE:
        shutil.rmtree(folder)
