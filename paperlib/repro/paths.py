"""Where the project's files lie, and how a generated file is put there in one piece."""

import os
import tempfile
from pathlib import Path


class NoCheckout(FileNotFoundError):
    """There is no checkout to work on, or not the one whose code this is."""


def project_folder() -> Path:
    """The checkout that holds `notebooks/` and `data/`; NoCheckout if paperlib runs without one."""
    folder = _code_folder()
    if _carried_data().is_dir() or not (folder / "data").is_dir():
        raise NoCheckout(
            f"the notebooks, the claims ledger and the recorded runs need a checkout of the project; {folder} is none"
        )
    return folder


def require_this_checkout() -> None:
    """NoCheckout if this code is in none, or in another one than the working folder, or if its path would split
    PYTHONPATH.
    """
    code, here = _code_folder(), Path.cwd()
    around = next((folder for folder in (here, *here.parents) if _is_checkout(folder)), None)
    if around is not None and not around.samefile(code):
        raise NoCheckout(
            f"this is the code in {code}, but {around} is another checkout: use its own environment, or make, or "
            "python -m paperlib.repro in that folder"
        )
    if os.pathsep in str(code):
        raise NoCheckout(f"the path of the checkout has a {os.pathsep!r}, which splits PYTHONPATH; move it: {code}")
    project_folder()


def _code_folder() -> Path:
    return Path(__file__).parents[2]


def _is_checkout(folder: Path) -> bool:
    return (folder / "data").is_dir() and (folder / "paperlib" / "repro").is_dir()


def notebooks_folder() -> Path:
    """The notebooks as committed."""
    return project_folder() / "notebooks"


def data_folder() -> Path:
    """The claims ledger, the papers' printed numbers and settings, experiment definitions and recorded results.

    An installed wheel carries the settings and numbers in `published/`, `experiments/` and `environments.yaml`.
    """
    return _carried_data() if _carried_data().is_dir() else project_folder() / "data"


def _carried_data() -> Path:
    """Where a wheel has its data; see `tools/build_backend.py`."""
    return _code_folder() / "paperlib" / "data"


def claims_folder() -> Path:
    """The claims ledger, a file per notebook."""
    return data_folder() / "claims"


def claims_file(notebook: str) -> Path:
    """The claims of one notebook."""
    return claims_folder() / f"{notebook}.yaml"


def published_verdicts() -> Path:
    """The verdicts behind the committed outputs of the notebooks."""
    return data_folder() / "verdicts.csv"


def build_folder() -> Path:
    """Everything generated: `build/` of the checkout, or the folder named by PAPERLIB_BUILD."""
    return project_folder() / os.environ.get("PAPERLIB_BUILD", "build")


def require_build_folder() -> None:
    """Make the build folder; ValueError if it cannot be made or written to."""
    folder = build_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"the build folder {folder} cannot be made ({error.strerror}); see PAPERLIB_BUILD") from error
    if not os.access(folder, os.W_OK):
        raise ValueError(f"the build folder {folder} cannot be written to; choose another one with PAPERLIB_BUILD")


def runs_folder() -> Path:
    """Root of the run store."""
    return build_folder() / "runs"


def compiled_folder() -> Path:
    """What torch.compile keeps from one training to the next."""
    return build_folder() / "compiled"


def executed_notebook(name: str) -> Path:
    """A notebook that ran to its end, with its outputs."""
    return build_folder() / "notebooks" / f"{name}.ipynb"


def failed_notebook(name: str) -> Path:
    """What a notebook had produced when it failed, with the error in it."""
    return build_folder() / "notebooks" / f"{name}.failed.ipynb"


def unfinished_notebook(name: str) -> Path:
    """A notebook while it runs, saved after each cell; left behind by a killed run."""
    return build_folder() / "notebooks" / f"{name}.unfinished.ipynb"


def execution_file(name: str) -> Path:
    """What a notebook's last execution was made from, and what it made."""
    return build_folder() / "inputs" / f"{name}.json"


def data_reads_file(name: str) -> Path:
    """Where a notebook's processes note what they read under data/ while they run."""
    return build_folder() / "inputs" / f"{name}.reads"


def verdicts_file(name: str) -> Path:
    """The verdicts a notebook has recorded."""
    return build_folder() / "verdicts" / f"{name}.json"


def figures_folder() -> Path:
    """Figures, named <notebook>--<name>."""
    return build_folder() / "figures"


def tables_folder() -> Path:
    """Tables as CSV, named <notebook>--<name>."""
    return build_folder() / "tables"


def write_atomically(path: Path, content: str | bytes) -> None:
    """Put `content` at `path` so that a reader sees the old file or the whole new one, whenever the writer dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
