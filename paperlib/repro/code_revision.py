"""Which code a run was made with: a digest of the module that trains and of what it imports from its own package.

What is followed are the imports of the paper's package, read from the syntax trees wherever they stand, inside
functions too: a list kept by hand forgets. Other distributions are not followed, as their versions are in a run's
provenance; nor is `paperlib.repro`, which finds files, keeps runs and reports on them, and has no part in their
numbers.

A method or a task that brings code of its own changes the revision of every run. So a recorded run counts whatever its
revision (`paperlib.repro.recording`); only runs of the run store are made again.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

DIGITS = 16


def code_revision(training: ModuleType) -> str:
    """16 hex digits that change when the code of `training` or of a module in its closure does, and not with comments,
    docstrings or layout; see `import_closure`.
    """
    trees = {name: _syntax(_parse(file)) for name, file in import_closure(training).items()}
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
        raise ValueError(
            f"module {training.__name__} lies in no package of a paper, as paperlib.pave.engine.training does"
        )
    package, root = ".".join(parts[:2]), Path(source).parents[len(parts) - 3]
    closure, todo = {}, [training.__name__]
    while todo:
        name = todo.pop()
        if name not in closure:
            closure[name] = _source(name, package, root)
            todo += _imported(name, package, root)
    return closure


def _source(name: str, package: str, root: Path) -> Path | None:
    """The file of a module of the package, None if it has none of that name."""
    if name != package and not name.startswith(f"{package}."):
        return None
    path = root.joinpath(*name.split(".")[2:])
    candidates = (path.with_suffix(".py"), path / "__init__.py") if name != package else (root / "__init__.py",)
    return next((file for file in candidates if file.is_file()), None)


def _imported(name: str, package: str, root: Path) -> Iterator[str]:
    """The modules of the package that one of them imports: of `from a import b` b if it is a module, else a."""
    file = _source(name, package, root)
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, name if file.name == "__init__.py" else name.rpartition(".")[0])
            wanted = [(f"{module}.{alias.name}", module) for alias in node.names]
        else:
            continue
        for one in wanted:
            yield from [module for module in one if module and _source(module, package, root)][:1]


def _absolute(node: ast.ImportFrom, inside: str) -> str:
    """The module that an import names, relative ones counted from the package they stand in."""
    if not node.level:
        return node.module
    base = inside.split(".")[: len(inside.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def _parse(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


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
