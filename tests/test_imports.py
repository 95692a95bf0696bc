"""What code imports of a package: everything, wherever the import stands, and nothing else."""

import pytest

from paperlib.repro.imports import Package
from paperlib.repro.paths import project_folder

PAPERLIB = Package("paperlib", project_folder() / "paperlib")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import paperlib.repro.store", ["paperlib.repro.store"]),
        ("from paperlib.repro import store, RESERVED", ["paperlib.repro.store", "paperlib.repro"]),
        ("def f():\n    from paperlib.pave.losses import pave_losses", ["paperlib.pave.losses"]),
        ("import numpy\nfrom torch import nn", []),
        ("from paperlib.nowhere import x", []),
        ("import paperliberty", []),
    ],
)
def test_the_modules_that_code_imports(code, expected):
    assert list(PAPERLIB.imported(code)) == expected


def test_the_closure_holds_what_is_imported_through_others():
    closure = PAPERLIB.closure(["paperlib.pave.losses"])
    names = ("losses", "critic_geometry", "closed_form", "engine.networks")
    assert set(closure) == {f"paperlib.pave.{name}" for name in names}
    assert all(file.is_file() for file in closure.values())


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="no module paperlib.nowhere"):
        PAPERLIB.closure(["paperlib.nowhere"])
