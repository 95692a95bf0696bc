"""The engine's benchmark: README's table is the recorded run's, and an interrupted run goes on."""

import importlib.util
import json
import sys

import pandas as pd
import pytest

from paperlib.repro import paths


@pytest.fixture(scope="module")
def benchmark():
    file = paths.project_folder() / "benchmarks" / "engine_speed.py"
    spec = importlib.util.spec_from_file_location("engine_speed", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_readme_has_the_recorded_table(benchmark):
    """`python benchmarks/engine_speed.py --record` writes it."""
    table = pd.read_csv(benchmark.RECORDED)
    facts = json.loads(benchmark.RECORDED.with_suffix(".json").read_text())
    (written,) = benchmark.README_SECTION.findall((paths.project_folder() / "README.md").read_text())
    assert written == benchmark.readme_section(table, facts)
    assert facts["cpu"] in written and facts["instruction_sets"][0] in written and facts["versions"]["torch"] in written


def test_what_is_measured_is_not_measured_again_after_an_interruption(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "build_folder", lambda: tmp_path)
    facts = {"cpu": "one"}
    benchmark.Progress("speed", facts).measured("a part", lambda: [{"ms": 1.5}])
    again = benchmark.Progress("speed", facts)
    assert again.measured("a part", lambda: pytest.fail("measured twice")) == [{"ms": 1.5}]
    assert benchmark.Progress("speed", {"cpu": "other"}).measured("a part", lambda: [{"ms": 2.0}]) == [{"ms": 2.0}]
    again.finish()
    assert not list((tmp_path / "benchmarks").iterdir())


def test_sbx_is_left_out_where_no_python_has_it(benchmark):
    assert not benchmark.has_sbx(None)
    case, plan = benchmark.Case("walker", "sac", "base"), benchmark.QUICK
    programs = {contender.program for contender in benchmark.contenders(case, plan, sbx_python=None)}
    assert programs == {"stable-baselines3", "product", "engine", "engine, uncompiled"}
    assert "sbx" in {contender.program for contender in benchmark.contenders(case, plan, sbx_python="python")}
