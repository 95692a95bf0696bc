"""Experiment definitions: the files under data/experiments, read by the package whose kind they are of."""

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from paperlib.repro import paths

TRAINING = "training"
"""The kind of a file that names none."""


def experiment_names(kind: str) -> list[str]:
    """The experiments of a kind, in alphabetical order."""
    files = sorted((paths.data_folder() / "experiments").glob("*.yaml"))
    return [file.stem for file in files if _kind(yaml.safe_load(file.read_text())) == kind]


def load_definition(name: str, kind: str, profile: str) -> dict:
    """What data/experiments/<name>.yaml says, or the file `name` itself where that ends in .yaml.

    FileNotFoundError if there is no such file, ValueError if it is of another kind or has no such profile; the message
    names what there is.
    """
    file = definition_file(name)
    if not file.is_file():
        raise FileNotFoundError(f"no experiment {name!r} in {file.parent}; there are: {_names(kind)}")
    definition = yaml.safe_load(file.read_text())
    if _kind(definition) != kind:
        raise ValueError(f"{name} is of kind {_kind(definition)}, not {kind}; of that kind there are: {_names(kind)}")
    if profile not in definition["profiles"]:
        raise ValueError(f"{file.name} has no profile {profile!r}, only {', '.join(definition['profiles'])}")
    return definition


def definition_file(name: str) -> Path:
    """The file of an experiment that is given by its name in data/experiments, or by the file."""
    return Path(name) if name.endswith(".yaml") else paths.data_folder() / "experiments" / f"{name}.yaml"


def _kind(definition: dict) -> str:
    return definition.get("kind", TRAINING)


def _names(kind: str) -> str:
    return ", ".join(experiment_names(kind)) or "none"


def without_defaults(run: Any) -> dict:
    """The fields of a dataclass for a run's name, but for those that have a default and are at it.

    So a field that is added with a default renames no run. A default that was ever used stays as it is.
    """
    values = dataclasses.asdict(run)
    return {f.name: values[f.name] for f in dataclasses.fields(run) if values[f.name] != f.default}
