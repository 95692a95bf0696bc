"""The list of notebooks: data/notebooks.yaml."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from paperlib.repro import paths

SCOREBOARD = "18_scoreboard"
"""The notebook that shows all verdicts, executed after the others."""


@dataclass(frozen=True)
class CatalogueEntry:
    """One notebook: its file name without suffix and what it shows."""

    name: str
    shows: str

    @property
    def source(self) -> Path:
        """The committed notebook."""
        return paths.notebooks_folder() / f"{self.name}.ipynb"

    @property
    def exists(self) -> bool:
        """False for a notebook that is planned but not written yet."""
        return self.source.is_file()


def load_catalogue() -> dict[str, CatalogueEntry]:
    """All notebooks in reading order, by name."""
    path = paths.data_folder() / "notebooks.yaml"
    listing = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, shows in listing.items():
        if not isinstance(shows, str) or not shows.strip():
            raise ValueError(f"{path}: {name} must say what it shows, in words, and not {shows!r}")
    return {name: CatalogueEntry(name, shows) for name, shows in listing.items()}


def existing_notebooks() -> list[CatalogueEntry]:
    """The notebooks that are written, in reading order."""
    return [entry for entry in load_catalogue().values() if entry.exists]
