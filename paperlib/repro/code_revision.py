"""Which code a run was made with: a digest of the module that trains and of what it imports from its own package.

What is followed are the imports of the paper's package (`paperlib.repro.imports`). Other distributions are not, as
their versions are in a run's provenance; nor is `paperlib.repro`, which finds files, keeps runs and reports on them,
and has no part in their numbers.

A method or a task that brings code of its own changes the revision of every run. So a recorded run counts whatever its
revision (`paperlib.repro.recording`); only runs of the run store are made again.
"""

import ast
import hashlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

from paperlib.repro.imports import Package

DIGITS = 16


def code_revision(training: ModuleType) -> str:
    """16 hex digits that change when the code of `training` or of a module in its closure does, and not with comments,
    docstrings or layout; see `import_closure`.
    """
    trees = {name: _syntax(ast.parse(file.read_bytes())) for name, file in import_closure(training).items()}
    text = json.dumps(trees, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def import_closure(training: ModuleType) -> dict[str, Path]:
    """A module and those of its package that it imports, directly or through others: source files by module name.

    Its package are the first two parts of its name, as in `paperlib.pave`. ValueError for a module without Python
    source, or with fewer than three parts to its name.
    """
    source, parts = getattr(training, "__file__", None), training.__name__.split(".")
    if source is None or not source.endswith(".py"):
        raise ValueError(f"module {training.__name__} has no Python source file")
    if len(parts) < 3:
        raise ValueError(f"module {training.__name__} lies in no package of a paper, as paperlib.pave.experiments does")
    package = Package(".".join(parts[:2]), Path(source).parents[len(parts) - 3])
    return package.closure([training.__name__])


def _syntax(node: Any) -> Any:
    """A syntax tree as nested lists, without positions, comments and bare strings (docstrings).

    Absent and empty fields are left out, so that fields which a later Python adds to its trees change nothing.
    """
    if isinstance(node, ast.AST):
        fields = [[name, _syntax(value)] for name, value in ast.iter_fields(node) if value is not None and value != []]
        return [type(node).__name__, *fields]
    if isinstance(node, list):
        return [_syntax(item) for item in node if not _is_bare_string(item)]
    return [type(node).__name__, ascii(node)]


def _is_bare_string(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
