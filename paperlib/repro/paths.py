"""Where the project's files lie, and how a generated file is put there in one piece."""

import os
import tempfile
from pathlib import Path


def project_folder() -> Path:
    """The checkout that holds `notebooks/` and `data/`; FileNotFoundError if paperlib runs without one."""
    folder = Path(__file__).parents[2]
    if not (folder / "data").is_dir():
        raise FileNotFoundError(
            f"{folder} has no data/: the notebooks and the claims ledger need a checkout (pip install -e .)"
        )
    return folder


def notebooks_folder() -> Path:
    """The notebooks as committed."""
    return project_folder() / "notebooks"


def data_folder() -> Path:
    """The claims ledger, the papers' printed numbers, experiment definitions and recorded results."""
    return project_folder() / "data"


def build_folder() -> Path:
    """Everything generated: `build/` of the checkout, or the folder named by PAPERLIB_BUILD."""
    return project_folder() / os.environ.get("PAPERLIB_BUILD", "build")


def runs_folder() -> Path:
    """Root of the run store."""
    return build_folder() / "runs"


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
