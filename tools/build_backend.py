"""The build backend: flit_core, whose wheels also carry the part of data/ that a user of the library reads.

In a wheel that part is `paperlib/data/`, where `paperlib.repro.paths.data_folder` finds it. Claims, recorded results
and notebooks stay in the checkout.
"""

import os
import shutil
import tempfile
from pathlib import Path

from flit_core import buildapi
from flit_core.buildapi import *  # noqa: F403  (what is no wheel is built as flit_core does it)

CARRIED = ("environments.yaml", "experiments", "published")
"""Of data/: how environments are made, what is trained, the papers' printed settings and numbers."""


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """flit_core's wheel of a copy of the sources in which the data lie in the package; the sources stay as they are."""
    project, target = Path.cwd(), os.path.abspath(wheel_directory)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "project"
        shutil.copytree(project / "paperlib", copy / "paperlib", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy2(project / name, copy)
        for name in CARRIED:
            source, into = project / "data" / name, copy / "paperlib" / "data" / name
            into.parent.mkdir(exist_ok=True)
            shutil.copytree(source, into) if source.is_dir() else shutil.copy2(source, into)
        os.chdir(copy)
        try:
            return buildapi.build_wheel(target, config_settings, metadata_directory)
        finally:
            os.chdir(project)
