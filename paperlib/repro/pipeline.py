"""What each notebook depends on, whether it is up to date, and what the notebooks have left in the build folder."""

from collections.abc import Iterator
from pathlib import Path

from paperlib.repro import paths
from paperlib.repro.catalogue import SCOREBOARD, CatalogueEntry, existing_notebooks
from paperlib.repro.profiles import Profile

NEVER_RUN, UNFINISHED, FAILED, OUT_OF_DATE, DONE = "never run", "unfinished", "failed", "out of date", "done"
_ARTEFACT_SUFFIXES = {".png", ".pdf", ".csv"}


def inputs(entry: CatalogueEntry) -> list[Path]:
    """The files whose change makes an executed notebook out of date; the Makefile has the same rule."""
    package = paths.project_folder() / "paperlib"
    files = [entry.source, *package.glob("*.py")]
    for name in ("repro", *entry.uses):
        files += (package / name).rglob("*.py")
    files += (path for path in paths.data_folder().rglob("*") if path.is_file())
    if entry.name == SCOREBOARD:
        files += _results_of_other_notebooks()
    return sorted(files)


def _results_of_other_notebooks() -> Iterator[Path]:
    for other in existing_notebooks():
        if other.name != SCOREBOARD:
            candidates = (paths.verdicts_file(other.name), paths.failed_notebook(other.name))
            yield from (path for path in candidates if path.is_file())


def condition(entry: CatalogueEntry) -> str:
    """How a notebook stands: NEVER_RUN, UNFINISHED, FAILED, OUT_OF_DATE or DONE."""
    executed = paths.executed_notebook(entry.name)
    if paths.unfinished_notebook(entry.name).is_file():
        return UNFINISHED
    if paths.failed_notebook(entry.name).is_file():
        return FAILED
    if not executed.is_file():
        return NEVER_RUN
    newest_input = max(path.stat().st_mtime_ns for path in [*inputs(entry), paths.profile_stamp(entry.name)])
    return DONE if executed.stat().st_mtime_ns >= newest_input else OUT_OF_DATE


def executed_profile(entry: CatalogueEntry) -> str:
    """The profile a notebook was last executed at, or empty."""
    stamp = paths.profile_stamp(entry.name)
    return stamp.read_text(encoding="utf-8").strip() if stamp.is_file() else ""


def is_up_to_date(entry: CatalogueEntry, profile: Profile) -> bool:
    """True if executing the notebook at this profile would repeat what is there."""
    return executed_profile(entry) == profile.name and condition(entry) == DONE


def artefacts() -> list[Path]:
    """All figures and tables in the build folder."""
    folders = (paths.figures_folder(), paths.tables_folder())
    files = (path for folder in folders if folder.is_dir() for path in folder.iterdir())
    return sorted(path for path in files if path.suffix in _ARTEFACT_SUFFIXES)
