"""The code revision: which modules it covers, and what changes it."""

import importlib
import json
import sys
import types

import pytest

from paperlib.repro.code_revision import code_revision, import_closure

SOURCE = '"""Prose."""\ndef step(rate: float) -> float:\n    """More prose."""\n    return 0.5 * rate\n'


def training_module(folder, **sources):
    """The module toy.paper.train of a package written into a folder, `a__b` standing for a/b.py."""
    for name, source in {"__init__": "", "unused": "x = 1", **sources}.items():
        file = folder / "toy" / "paper" / f"{name.replace('__', '/') if name != '__init__' else name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source)
    module = types.ModuleType("toy.paper.train")
    module.__file__ = str(folder / "toy" / "paper" / "train.py")
    return module


def revision(folder, **sources):
    return code_revision(training_module(folder, **sources))


def test_prose_and_layout_change_nothing(tmp_path):
    reworded = SOURCE.replace("rose", "oetry").replace("return 0.5 * rate", "# halved\n\n    return (0.5*rate)")
    assert reworded != SOURCE
    first = revision(tmp_path, train=SOURCE)
    assert revision(tmp_path, train=reworded) == first
    assert len(first) == 16


@pytest.mark.parametrize(("old", "new"), [("0.5", "0.25"), ("*", "+"), ("rate", "step_size"), ("return ", "")])
def test_code_changes_it(tmp_path, old, new):
    assert revision(tmp_path, train=SOURCE.replace(old, new)) != revision(tmp_path, train=SOURCE)


IMPORTS = {
    "of a name": "from toy.paper.part import x",
    "of a module": "import toy.paper.part as p",
    "from the package": "from toy.paper import part",
    "relative": "from . import part",
    "relative, of a name": "from .part import x",
    "inside a function": "def f():\n    from toy.paper.part import x\n    return x",
    "through another module": "import toy.paper.middle",
    "through the package": "from toy.paper import exported",
}


@pytest.mark.parametrize("form", IMPORTS)
def test_an_imported_module_changes_it_whatever_the_form_of_the_import(tmp_path, form):
    sources = {"train": IMPORTS[form], "middle": "from toy.paper import part, train"}
    if form == "through the package":
        sources["__init__"] = "from toy.paper.part import x as exported"
    assert revision(tmp_path, **sources, part="x = 1") != revision(tmp_path, **sources, part="x = 2")


def test_a_module_in_a_folder_of_the_package_counts_and_may_import_upwards(tmp_path):
    sources = {"train": "from toy.paper.inner.deep import y", "inner__deep": "from ..part import x as y"}
    closure = import_closure(training_module(tmp_path, **sources, part="x = 1"))
    assert set(closure) == {"toy.paper.train", "toy.paper.inner.deep", "toy.paper.part"}


def test_what_is_not_imported_or_lies_elsewhere_changes_nothing(tmp_path):
    sources = {"train": "import json\nfrom toy.repro import store\nimport toy.paper.part", "part": "x = 1"}
    (tmp_path / "toy" / "repro").mkdir(parents=True)
    (tmp_path / "toy" / "repro" / "store.py").write_text("x = 1")
    assert set(import_closure(training_module(tmp_path, **sources))) == {"toy.paper.train", "toy.paper.part"}
    assert revision(tmp_path, **sources, unused="x = 1") == revision(tmp_path, **sources, unused="x = 2")


def test_a_module_without_source_or_without_a_paper_is_refused():
    with pytest.raises(ValueError, match="sys has no Python source"):
        code_revision(sys)
    with pytest.raises(ValueError, match="json lies in no package of a paper"):
        code_revision(json)


@pytest.mark.parametrize(
    "entry, among",
    [
        (
            "pave.engine.training",
            {f"engine.{name}" for name in ("settings", "actor_critic", "td3", "sac", "evaluation")}
            | {"closed_form", "critic_geometry"},
        ),
        (
            "lipschitz.experiments",
            {f"simulation.{name}" for name in ("ascent", "gpomdp", "compiled_rollouts", "domains")}
            | {"step_sizes", "constants"},
        ),
        (
            "lipschitz.lqg_experiment",
            {f"simulation.{name}" for name in ("lqg_iterations", "exact_lqg", "compiled_rollouts")} | {"step_sizes"},
        ),
    ],
)
def test_what_trains_is_covered_and_what_reports_is_not(entry, among):
    closure = set(import_closure(importlib.import_module(f"paperlib.{entry}")))
    paper = entry.split(".")[0]
    assert {f"paperlib.{paper}.{name}" for name in among} < closure
    assert all(name.startswith(f"paperlib.{paper}.") for name in closure)
    assert not [name for name in closure if "figures" in name or "records." in name]
