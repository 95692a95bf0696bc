"""Which modules of a package some code imports, directly or through others: read from syntax trees, nothing is run.

Imports count wherever they stand, inside functions too: a list kept by hand forgets.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A package by its dotted name and its folder."""

    name: str
    folder: Path

    def source(self, module: str) -> Path | None:
        """The file of a module of the package, None if it has none of that name."""
        candidates: list[Path] = []
        if module == self.name:
            candidates = [self.folder / "__init__.py"]
        elif module.startswith(f"{self.name}."):
            path = self.folder.joinpath(*module.removeprefix(f"{self.name}.").split("."))
            candidates = [path.with_suffix(".py"), path / "__init__.py"]
        return next((file for file in candidates if file.is_file()), None)

    def closure(self, modules: Iterable[str]) -> dict[str, Path]:
        """These modules and those of the package that they import, directly or through others: source files by name."""
        found: dict[str, Path] = {}
        todo = list(modules)
        while todo:
            module = todo.pop()
            file = self.source(module)
            if file is None:
                raise ModuleNotFoundError(f"{self.folder} has no module {module}")
            if module not in found:
                found[module] = file
                inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
                todo += self.imported(file.read_bytes(), inside)
        return found

    def imported(self, code: bytes | str, inside: str = "") -> Iterator[str]:
        """The modules of the package that code in the package `inside` imports: of `from a import b` b if it is a
        module, else a.
        """
        for names in _imports(code, inside):
            yield from [name for name in names if self.source(name)][:1]


@cache
def _imports(code: bytes | str, inside: str) -> list[tuple[str, ...]]:
    """What each import may name, the likelier first."""
    found: list[tuple[str, ...]] = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found += [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, inside)
            found += [(f"{module}.{alias.name}", module) for alias in node.names]
    return found


def _absolute(node: ast.ImportFrom, inside: str) -> str:
    """The module that an import names, relative ones counted from the package they stand in."""
    if not node.level:
        return node.module or ""
    base = inside.split(".")[: len(inside.split(".")) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)
