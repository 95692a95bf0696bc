"""One list of pins, one range of Python versions, and packages that keep to their side of the house."""

import ast
import importlib.metadata
import itertools
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

import paperlib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert len({canonicalize_name(r.name) for r in requirements}) == len(requirements)
    return {canonicalize_name(r.name): r for r in requirements}


def pinned_version(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, requirement
    return Version(specifier.version)


def direct_requirements() -> list[Requirement]:
    """Those of the library and of every extra; extras that name other extras add none."""
    lines = [*PROJECT["dependencies"], *itertools.chain.from_iterable(PROJECT["optional-dependencies"].values())]
    return [one for one in map(Requirement, lines) if one.name != "paperlib"]


def test_the_conda_environment_takes_every_version_but_pythons_from_the_lock():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert [d for d in dependencies if isinstance(d, str)] == ["python=3.11", "pip"]
    (pip,) = [d["pip"] for d in dependencies if isinstance(d, dict)]
    assert pip == ["-r requirements.lock", "-e ."]


def test_both_ways_of_set_up_install_the_same():
    makefile = (ROOT / "Makefile").read_text()
    assert makefile.count("pip install") == 1
    assert re.search(r"pip install .*-r requirements\.lock -e \.$", makefile, re.MULTILINE)
    assert "--file environment.yml" in makefile


@pytest.mark.parametrize("requirement", direct_requirements(), ids=str)
def test_a_direct_dependency_is_pinned_within_its_range(requirement):
    assert pinned_version(pins()[canonicalize_name(requirement.name)]) in requirement.specifier


def test_each_direct_dependency_says_why():
    section = (ROOT / "pyproject.toml").read_text().split("dependencies = [", 1)[1].split("[project.scripts]")[0]
    lines = [line for line in section.splitlines() if line.strip().startswith('"')]
    assert len(lines) == len(direct_requirements()) + 2  # notebooks and dev name extras
    before = dict(zip(section.splitlines()[1:], section.splitlines(), strict=False))
    assert [line for line in lines if "  # " not in line and not before[line].strip().startswith("#")] == []


def test_everything_the_installed_dependencies_need_is_pinned_at_the_installed_version():
    locked = pins()
    todo = [(r.name, frozenset(r.extras)) for r in direct_requirements()]
    seen = set()
    while todo:
        name, extras = todo.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if canonicalize_name(name) == "torch":
            # Its CUDA libraries are pinned by the metadata of the one wheel that needs them.
            todo += [(n, frozenset()) for n in ("sympy", "networkx", "jinja2", "fsspec", "filelock")]
        else:
            needs = [Requirement(line) for line in distribution.requires or []]
            todo += [(r.name, frozenset(r.extras)) for r in needs if is_needed(r, extras)]
        assert canonicalize_name(name) in locked, f"{name} is not pinned"
        public = Version(Version(distribution.version).public)
        assert public == pinned_version(locked[canonicalize_name(name)]), name


def is_needed(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def test_the_makefile_accepts_the_python_versions_of_pyproject():
    makefile = (ROOT / "Makefile").read_text()
    oldest = re.search(r"^OLDEST_PYTHON := (\d+), (\d+)$", makefile, re.MULTILINE).groups()
    too_new = re.search(r"^FIRST_PYTHON_TOO_NEW := (\d+), (\d+)$", makefile, re.MULTILINE).groups()
    declared = SpecifierSet(PROJECT["requires-python"])
    assert declared == SpecifierSet(f">={'.'.join(oldest)},<{'.'.join(too_new)}")
    assert "3.11" in declared


def test_the_citation_names_both_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == paperlib.__version__
    assert sorted(reference["year"] for reference in citation["references"]) == [2015, 2026]
    assert all(reference["authors"] and reference["title"] for reference in citation["references"])


def test_codemeta_says_what_pyproject_and_the_citation_say():
    meta, citation = (
        json.loads((ROOT / "codemeta.json").read_text()),
        yaml.safe_load((ROOT / "CITATION.cff").read_text()),
    )
    assert (meta["name"], meta["version"]) == (PROJECT["name"], paperlib.__version__)
    assert meta["description"] == citation["abstract"]
    assert meta["runtimePlatform"] == f"Python {PROJECT['requires-python']}"
    assert meta["license"].endswith(f"/{PROJECT['license']}") and PROJECT["license"] == citation["license"]
    assert meta["softwareRequirements"] == [Requirement(line).name for line in PROJECT["dependencies"]]
    assert [author["name"] for author in meta["author"]] == [author["name"] for author in citation["authors"]]
    papers = [(one["name"], int(one["datePublished"])) for one in meta["referencePublication"]]
    assert papers == [(one["title"], one["year"]) for one in citation["references"]]


FORBIDDEN = {"repro": {"pave", "lipschitz"}, "pave": {"lipschitz"}, "lipschitz": {"pave"}}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_a_package_does_not_import_the_packages_it_must_not_know(package):
    for path in (ROOT / "paperlib" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            for forbidden in FORBIDDEN[package]:
                assert not any(f"{name}.".startswith(f"paperlib.{forbidden}.") for name in names), path


def test_frozen_records_of_arrays_are_not_compared():
    """The generated comparison and hash of arrays raise; such records are equal where they are the same object."""
    of_arrays = re.compile("ndarray|Tensor|ArrayLike")
    for path in (ROOT / "paperlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef):
                continue
            made_by = [text for text in map(ast.unparse, node.decorator_list) if "dataclass(frozen=True" in text]
            fields = [ast.unparse(one.annotation) for one in node.body if isinstance(one, ast.AnnAssign)]
            if made_by and any(map(of_arrays.search, fields)):
                assert "eq=False" in made_by[0], f"{path}: {node.name}"
