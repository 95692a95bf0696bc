"""Names of runs: each setting renames the runs that use it and no others, and additions rename none."""

import copy
import dataclasses
from collections.abc import Iterator

import pytest
import yaml

from paperlib.lipschitz.experiments import load_step_sizes
from paperlib.lipschitz.lqg_experiment import load_lqg
from paperlib.pave.engine import environments, settings
from paperlib.pave.engine.settings import AlgorithmSettings, Coefficients
from paperlib.pave.experiments import load_experiment
from paperlib.repro import paths
from paperlib.repro.store import RunStore

DATA = paths.data_folder()
PUBLISHED = yaml.safe_load((DATA / "published" / "pave_hyperparameters.yaml").read_text())
PUBLISHED |= {"environments": yaml.safe_load((DATA / "environments.yaml").read_text())}


def names(runs) -> list[str]:
    store = RunStore("nowhere")
    return [store.name(run.spec()) for run in runs]


def leaves(node, path=()) -> Iterator[tuple]:
    """The paths of all values in nested mappings and lists."""
    if not isinstance(node, dict | list):
        yield path
        return
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield from leaves(value, (*path, key))


def changed(table, path):
    """A copy with another value at one path."""
    table = copy.deepcopy(table)
    node = table
    for key in path[:-1]:
        node = node[key]
    value = node[path[-1]]
    node[path[-1]] = not value if isinstance(value, bool) else f"{value}x" if isinstance(value, str) else 2 * value + 1
    return table


# --- PAVE's published settings ----------------------------------------------------------------------------------------


def published_runs(monkeypatch, table):
    monkeypatch.setattr(settings, "_published", lambda: table)
    monkeypatch.setattr(settings, "environments", lambda: table["environments"])
    monkeypatch.setattr(environments, "environment_rows", lambda: table["environments"])
    return load_experiment("published", "paper")


def users(path):
    """Whether a run uses the published setting at a path."""
    head, *rest = path
    if head == "environments":
        return lambda run: run.environment == rest[0]
    if head == "networks":
        return lambda run: run.algorithm == rest[0]
    if head == "seeds":
        return lambda run: run.seed == PUBLISHED["seeds"]["training"][rest[-1]]
    if head in ("td3", "sac"):
        of_environment = {"common": lambda e: True, "default": lambda e: e not in PUBLISHED[head]}
        applies = of_environment.get(rest[0], lambda e: e == rest[0])
        return lambda run: run.algorithm == head and applies(run.environment)
    if len(rest) == 1:  # a value of the method itself
        return lambda run: run.method == head
    if rest[0] == "default":
        return lambda run: run.method == head and run.environment not in PUBLISHED[head]
    if len(rest) == 2:
        return lambda run: run.method == head and run.environment == rest[0]
    return lambda run: (run.method, run.algorithm, run.environment) == (head, rest[0], rest[1])


@pytest.fixture(scope="module")
def as_published():
    """The runs of Tables 1 and 2 and their names."""
    runs = load_experiment("published", "paper")
    return runs, names(runs)


@pytest.mark.parametrize("path", list(leaves(PUBLISHED)), ids=lambda path: ".".join(map(str, path)))
def test_a_published_setting_renames_the_runs_that_use_it_and_no_others(path, as_published, monkeypatch):
    runs, before = as_published
    after = names(published_runs(monkeypatch, changed(PUBLISHED, path)))
    renamed = [one != other for one, other in zip(before, after, strict=True)]
    uses = users(path)
    assert renamed == [uses(run) for run in runs] and any(renamed)


def test_other_runs_of_an_experiment_with_variants_are_named_apart():
    for experiment in ("ablations", "critic_side", "sensitivity", "combination"):
        runs = load_experiment(experiment, "paper")
        assert len(set(names(runs))) == len(runs)


def test_what_no_term_uses_names_no_run_and_what_one_uses_does():
    uses = {"sigma": "mpr", "delta": "curv", "caps_sigma": "caps_spatial", "asap_target_tau": "asap_spatial"}
    for name, weight in uses.items():
        assert Coefficients(**{name: 7.0}).named() == {}
        assert Coefficients(**{weight: 1.0, name: 7.0}).named() == {weight: 1.0, name: 7.0}
        default = getattr(Coefficients(), name)
        assert Coefficients(**{weight: 1.0}).named() == {weight: 1.0, name: default}


def test_every_weight_and_every_setting_is_named():
    parameters = {"sigma", "delta", "caps_sigma", "asap_target_tau"}
    for field in dataclasses.fields(Coefficients):
        if field.name not in parameters:
            assert Coefficients(**{field.name: 7.0}).named()[field.name] == 7.0
    plain = settings.published_settings("td3", "walker")
    for field in dataclasses.fields(AlgorithmSettings):
        other = {"algorithm": "sac", "hidden": (1,), "probes": "sphere", "spectral_critic": True}
        other |= {"precision": "mixed"}
        other = other.get(field.name, 7)
        assert dataclasses.replace(plain, **{field.name: other}).named() != plain.named()


def test_what_a_name_leaves_out_means_what_it_always_meant():
    """Recorded runs were named with these defaults: another default would give them other meanings."""
    defaults = {f.name: f.default for f in dataclasses.fields(AlgorithmSettings) if f.default != dataclasses.MISSING}
    none = ("policy_delay", "target_policy_noise", "target_noise_clip", "exploration_noise_std", "entropy_coefficient")
    assert defaults.items() >= (dict.fromkeys(none) | {"probes": "rademacher", "spectral_critic": False}).items()
    weights = {f.name: f.default for f in dataclasses.fields(Coefficients)}
    assert {name for name, default in weights.items() if default} <= {"sigma", "delta", "caps_sigma", "asap_target_tau"}


def test_a_method_a_coefficient_a_setting_or_an_environment_more_renames_no_run(as_published, monkeypatch):
    before = as_published[1]
    more = copy.deepcopy(PUBLISHED)
    more["environments"]["cheetah"] = {"id": "HalfCheetah-v5", "steps": 1_000_000}
    more["l2c2"] = {"sigma": 0.3, "default": {"temporal": 0.1}}
    for table in (more["pave"]["td3"], more["asap"]["sac"]):
        table["cheetah"] = table["walker"]
    with_term = [("l2c2", float, 0.0), ("l2c2_sigma", float, 0.3)]
    wider = dataclasses.make_dataclass("Wider", with_term, bases=(Coefficients,), frozen=True)
    rounding = [("rounding", str, "nearest")]
    precise = dataclasses.make_dataclass("Precise", rounding, bases=(AlgorithmSettings,), frozen=True)
    monkeypatch.setattr(settings, "Coefficients", wider)
    monkeypatch.setattr(settings, "AlgorithmSettings", precise)
    monkeypatch.setattr(settings, "METHODS", (*settings.METHODS, "l2c2"))
    runs = published_runs(monkeypatch, more)
    assert names(runs) == before
    assert isinstance(runs[0].coefficients, wider) and isinstance(runs[0].settings, precise)
    asked = dataclasses.replace(runs[0], coefficients=wider(l2c2=0.1))
    assert names([asked]) != before[:1] and asked.spec()["coefficients"] == {"l2c2": 0.1}


# --- Step sizes -------------------------------------------------------------------------------------------------------

LOADERS = {
    "lqg": load_lqg,
    "mass_spring_damper": lambda profile: load_step_sizes("mass_spring_damper", profile),
    "ship_steering": lambda profile: load_step_sizes("ship_steering", profile),
}
DEFINITIONS = {name: yaml.safe_load((DATA / "experiments" / f"{name}.yaml").read_text()) for name in LOADERS}
OF_THE_GRID = ("a", "discount", "standard_deviation")


def uses_of_step_sizes(experiment, path, profile):
    """Whether a run at a profile uses the value at a path of its experiment's file."""
    definition = DEFINITIONS[experiment]
    head, *rest = path
    if head == "cells":
        own_budget = rest[1] in ("smoke", "quick", "paper")
        return lambda run: run.cell == rest[0] and (not own_budget or rest[1] == profile)
    if head != "profiles":
        return lambda run: True
    if rest[0] != profile:
        return lambda run: False
    if rest[1] in OF_THE_GRID:
        return lambda run: getattr(run, rest[1]) == definition["profiles"][profile][rest[1]][rest[2]]
    cells = definition.get("cells", {})
    return lambda run: experiment == "lqg" or rest[1] not in cells[run.cell].get(profile, {})


@pytest.mark.parametrize("profile", ["smoke", "paper"])
@pytest.mark.parametrize("experiment", LOADERS)
def test_a_value_of_a_step_size_experiment_renames_the_runs_that_use_it_and_no_others(
    experiment, profile, monkeypatch, tmp_path
):
    for module in ("experiments", "lqg_experiment"):  # changed values may leave no margin, which loading refuses
        monkeypatch.setattr(f"paperlib.lipschitz.{module}._require_margin", lambda run: None)
    definition, load = DEFINITIONS[experiment], LOADERS[experiment]
    runs = load(profile)
    before = names(runs)
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)
    for path in leaves(definition):
        if path[0] in ("kind", "domain") or "rules" in path:
            continue
        (tmp_path / "experiments" / f"{experiment}.yaml").write_text(
            yaml.safe_dump(changed(definition, path), sort_keys=False)
        )
        renamed = [one != other for one, other in zip(before, names(load(profile)), strict=True)]
        uses = uses_of_step_sizes(experiment, path, profile)
        assert renamed == [uses(run) for run in runs], path
