"""What each notebook depends on, whether it is up to date, and what the notebooks have left in the build folder.

An executed notebook is up to date while what it was made from and what it made are, by content, what they were: its own
cells, the modules it imports, requirements.lock, the files and folders under data/ that it read, and its
verdicts, figures and tables. Dates of files mean nothing: copies, archives and checkouts set them as they like.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from paperlib.repro import data_reads, paths
from paperlib.repro.catalogue import SCOREBOARD, CatalogueEntry, existing_notebooks
from paperlib.repro.imports import Package
from paperlib.repro.profiles import Profile
from paperlib.repro.store import RESERVED_FOLDERS, exclusive

NEVER_RUN, UNFINISHED, FAILED, OUT_OF_DATE, DONE = "never run", "unfinished", "failed", "out of date", "done"
_ARTEFACT_SUFFIXES = {".png", ".pdf", ".csv"}

Digests = dict[str, str | None]
"""Digests by path relative to the project, those of the build folder under "build/"; None where there is nothing."""


# --- Content ----------------------------------------------------------------------------------------------------------


def _digests(files: Iterable[Path]) -> Digests:
    return {_name(path): _digest(path) for path in sorted(files)}


def _name(path: Path) -> str:
    if path.is_relative_to(paths.build_folder()):
        return f"build/{path.relative_to(paths.build_folder()).as_posix()}"
    return path.relative_to(paths.project_folder()).as_posix()


def _path(name: str) -> Path:
    return paths.build_folder() / name[6:] if name.startswith("build/") else paths.project_folder() / name


def _digest(path: Path) -> str | None:
    """Of a file's content, of a notebook's cells without their outputs, of the names in a folder; None for nothing."""
    try:
        if path.is_dir():
            return _sha256(json.dumps(sorted(filter(_counts, os.listdir(path)))).encode())
        about = path.stat()
    except OSError:
        return None
    return _file_digest(path, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@cache
def _file_digest(path: Path, *about: int) -> str | None:
    """Once for each state of a file: unlike its other dates, nobody can set when it was last changed (ctime)."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return _sha256(_cells(content) if path.suffix == ".ipynb" else content)


def _cells(content: bytes) -> bytes:
    """What of a notebook is executed or read: publishing it changes the rest."""
    try:
        cells = json.loads(content)["cells"]
        parts = [[c["cell_type"], "".join(c["source"]), c["metadata"].get("tags", [])] for c in cells]
    except (ValueError, KeyError, TypeError):
        return content
    return json.dumps(parts).encode()


def _counts(name: str) -> bool:
    """Whether a name in a folder of data is part of it, and not of a writer's or an editor's doings."""
    return name not in RESERVED_FOLDERS and not name.startswith(".")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- Inputs and outputs -----------------------------------------------------------------------------------------------


def sources(entry: CatalogueEntry) -> Digests:
    """Every notebook's inputs beside data: its cells, the modules it imports, the pins; the scoreboard's are also
    others' verdicts.
    """
    package = Package("paperlib", paths.project_folder() / "paperlib")
    modules = package.closure(package.imported(_code(entry.source)))
    files = [entry.source, paths.project_folder() / "requirements.lock", *modules.values()]
    if entry.name == SCOREBOARD:
        files += _results_of_other_notebooks()
    return _digests(files)


def _code(notebook: Path) -> str:
    """The code of a notebook without what only IPython understands; nothing of one that cannot be read."""
    try:
        cells = json.loads(notebook.read_bytes())["cells"]
        sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        lines = [line for source in sources for line in source.splitlines() if not line.lstrip().startswith(("%", "!"))]
        ast.parse("\n".join(lines))
    except (OSError, ValueError, KeyError, TypeError, SyntaxError):
        return ""
    return "\n".join(lines)


def _results_of_other_notebooks() -> Iterator[Path]:
    for other in existing_notebooks():
        if other.name != SCOREBOARD:
            candidates = (paths.verdicts_file(other.name), paths.failed_notebook(other.name))
            yield from (path for path in candidates if path.is_file())


def data_state() -> Digests:
    """All files and folders of data."""
    found = [paths.data_folder()]
    for folder, folders, files in os.walk(paths.data_folder()):
        found += (Path(folder) / name for name in (*folders, *files))
    return _digests(found)


def _made_by(entry: CatalogueEntry) -> list[Path]:
    """The verdicts, figures and tables of a notebook."""
    found = [paths.verdicts_file(entry.name)]
    for folder in (paths.figures_folder(), paths.tables_folder()):
        found += folder.glob(f"{entry.name}--*")
    return found


# --- Executions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Execution:
    """The last execution of a notebook: its profile, what it was made from, and what it made (nothing if it failed)."""

    profile: str
    sources: Digests = field(default_factory=dict)
    data: Digests = field(default_factory=dict)
    made: Digests = field(default_factory=dict)


def last_execution(entry: CatalogueEntry) -> Execution | None:
    """The last execution of a notebook that came to an end, None if there is none or its record cannot be read."""
    try:
        execution = Execution(**json.loads(paths.execution_file(entry.name).read_bytes()))
        if isinstance(execution.profile, str) and all(isinstance(d, dict) for d in list(vars(execution).values())[1:]):
            return execution
    except (OSError, ValueError, TypeError):
        pass
    return None


@contextmanager
def turn(entry: CatalogueEntry) -> Iterator[None]:
    """Hold a notebook against other processes that would execute it; waits for one that does, and says so."""
    lock = paths.build_folder() / "locks" / entry.name
    with ExitStack() as held:
        try:
            held.enter_context(exclusive(lock, blocking=False))
        except BlockingIOError:
            print(f"{entry.name}: waiting for another process that is executing it", flush=True)
            held.enter_context(exclusive(lock))
        yield


@contextmanager
def recorded(entry: CatalogueEntry, profile: Profile) -> Iterator[None]:
    """Execute a notebook in this block: what it leaves from earlier goes first, what it reads and makes is noted.

    An input that changes meanwhile leaves the notebook out of date.
    """
    _remove_earlier(entry)
    before, data, reads = sources(entry), data_state(), paths.data_reads_file(entry.name)
    paths.write_atomically(reads, "")
    execution = Execution(profile.name)
    try:
        with data_reads.noted_in(reads):
            yield
        read = {name: data.get(name) for name in data_reads.noted(reads)}
        execution = Execution(profile.name, before, read, _digests(_made_by(entry)))
    finally:
        reads.unlink(missing_ok=True)
        paths.write_atomically(paths.execution_file(entry.name), json.dumps(asdict(execution), indent=1))


def _remove_earlier(entry: CatalogueEntry) -> None:
    """So that no verdict, figure or table of an older version survives, nor what a killed process left half written."""
    name = entry.name
    kept = (paths.execution_file(name), paths.executed_notebook(name), paths.verdicts_file(name))
    for path in (*kept, paths.failed_notebook(name), paths.unfinished_notebook(name), *_made_by(entry)):
        path.unlink(missing_ok=True)
    for path in kept:
        for half_written in path.parent.glob(f".{path.name}.*"):
            half_written.unlink(missing_ok=True)


def condition(entry: CatalogueEntry) -> str:
    """How a notebook stands: NEVER_RUN, UNFINISHED, FAILED, OUT_OF_DATE or DONE."""
    if paths.unfinished_notebook(entry.name).is_file():
        return UNFINISHED
    if paths.failed_notebook(entry.name).is_file():
        return FAILED
    if not paths.executed_notebook(entry.name).is_file():
        return NEVER_RUN
    execution = last_execution(entry)
    return DONE if execution is not None and _is_current(entry, execution) else OUT_OF_DATE


def _is_current(entry: CatalogueEntry, execution: Execution) -> bool:
    return execution.sources == sources(entry) and _still_there(execution.data) and _still_there(execution.made)


def _still_there(digests: Mapping[str, str | None]) -> bool:
    return all(_digest(_path(name)) == digest for name, digest in digests.items())


def executed_profile(entry: CatalogueEntry) -> str:
    """The profile a notebook was last executed at, or empty."""
    execution = last_execution(entry)
    return execution.profile if execution else ""


def is_up_to_date(entry: CatalogueEntry, profile: Profile) -> bool:
    """True if executing the notebook at this profile would repeat what is there."""
    return executed_profile(entry) == profile.name and condition(entry) == DONE


def artefacts() -> list[Path]:
    """All figures and tables in the build folder."""
    folders = (paths.figures_folder(), paths.tables_folder())
    files = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
    return sorted(path for path in files if path.suffix in _ARTEFACT_SUFFIXES)
