"""Experiments: what a definition file asks for, and that the store's runs are trained once and only once."""

import dataclasses

import pandas as pd
import pytest
import torch
import yaml

from paperlib.pave import experiments
from paperlib.pave.engine.checkpoints import networks_from_bytes
from paperlib.pave.engine.settings import Coefficients, published_seeds, published_settings
from paperlib.pave.experiments import load_experiment, tidy, train
from paperlib.repro import paths
from paperlib.repro.profiles import PROFILES
from paperlib.repro.store import RunStore

TINY = {
    "environments": ["pendulum"],
    "algorithms": ["td3", "sac"],
    "methods": {"td3": ["base", "pave", "no_curv"], "sac": ["base"]},
    "variants": {"no_curv": {"method": "pave", "curv": 0.0}},
    "steps": {"td3": 100, "sac": 50},
    "evaluate_every": 50,
    "evaluation_episodes": 1,
    "final_episodes": 1,
    "checkpoint_every": 50,
    "settings": {"both": {"hidden": [8], "batch_size": 8}, "td3": {"learning_starts": 50}, "sac": {"gamma": 0.5}},
    "profiles": {"smoke": {"seeds": 2}},
}


@pytest.fixture
def define(tmp_path, monkeypatch):
    """Write experiment files into a data folder of the test's own, beside the published settings."""
    published = (paths.data_folder() / "published" / "pave_hyperparameters.yaml").read_bytes()
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "pave_hyperparameters.yaml").write_bytes(published)
    (tmp_path / "environments.yaml").write_bytes((paths.data_folder() / "environments.yaml").read_bytes())
    (tmp_path / "experiments").mkdir()
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)

    def write(name, **changes):
        (tmp_path / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(TINY | changes))

    return write


def test_a_definition_asks_for_the_product_of_its_lists(define):
    define("tiny")
    runs = load_experiment("tiny", "smoke")
    cells = [(run.algorithm, run.method, run.seed) for run in runs]
    first, second = published_seeds()[:2]
    td3 = [("td3", method, seed) for method in ("base", "pave", "no_curv") for seed in (first, second)]
    assert cells == [*td3, ("sac", "base", first), ("sac", "base", second)]


def test_a_tenth_of_the_published_budget_is_that_and_nothing_else():
    published = {(r.environment, r.algorithm, r.method, r.seed): r for r in load_experiment("published", "paper")}
    tenths = load_experiment("tenth", "paper")
    assert len(tenths) == 250
    assert {run.environment: run.budget.steps for run in tenths} == {
        **dict.fromkeys(("ant", "hopper", "walker"), 100_000),
        **dict.fromkeys(("lunar", "reacher"), 50_000),
    }
    for run in tenths:
        whole = published[run.environment, run.algorithm, run.method, run.seed]
        budget = dataclasses.replace(whole.budget, steps=whole.budget.steps // 10)
        assert run == dataclasses.replace(whole, experiment="tenth", budget=budget)


def test_overrides_replace_published_settings_and_nothing_else(define):
    define("tiny")
    runs = {(run.algorithm, run.method): run for run in load_experiment("tiny", "smoke")}
    td3, sac = runs["td3", "base"].settings, runs["sac", "base"].settings
    assert (td3.hidden, td3.batch_size, td3.learning_starts) == ((8,), 8, 50)
    assert (sac.hidden, sac.gamma, sac.learning_starts) == ((8,), 0.5, 10000)
    untouched = dataclasses.replace(td3, hidden=(400, 300), batch_size=256, learning_starts=10000)
    assert untouched == published_settings("td3", "pendulum")
    assert runs["td3", "no_curv"].coefficients == dataclasses.replace(runs["td3", "pave"].coefficients, curv=0.0)
    assert runs["td3", "base"].coefficients == Coefficients()


def test_steps_may_be_the_published_ones(define):
    define("published", steps="published")
    assert load_experiment("published", "smoke")[0].budget.steps == 100_000


def test_every_definition_of_the_project_can_be_loaded_at_each_profile_it_has():
    for file in sorted((paths.data_folder() / "experiments").glob("*.yaml")):
        definition = yaml.safe_load(file.read_text())
        if "kind" in definition:  # one of the second paper
            continue
        for profile in definition["profiles"]:
            assert profile in PROFILES
            assert load_experiment(file.stem, profile)


def test_an_unknown_experiment_or_profile_is_named_with_what_there_is(define):
    define("tiny")
    with pytest.raises(FileNotFoundError, match="no experiment 'huge'.*tiny"):
        load_experiment("huge", "smoke")
    with pytest.raises(ValueError, match="no profile 'paper', only smoke"):
        load_experiment("tiny", "paper")


def test_runs_are_trained_once_and_come_back_in_order(define, tmp_path, monkeypatch):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke"), RunStore(tmp_path / "runs")
    first = train(runs, store)
    assert [r.spec["method"] for r in first] == [run.method for run in runs]
    monkeypatch.setattr(experiments, "Trainer", None)  # any further training would fail
    again = train(runs, store)
    assert [r.name for r in again] == [r.name for r in first]
    assert not list(tmp_path.glob("runs/unfinished/*/*"))


def test_a_run_without_a_record_at_the_end_is_an_error(define, tmp_path, monkeypatch):
    define("tiny")
    monkeypatch.setattr(experiments, "train_group", lambda group, store, hardware: None)
    with pytest.raises(RuntimeError, match="8 of 8 runs have no record"):
        train(load_experiment("tiny", "smoke"), RunStore(tmp_path / "runs"))


def test_only_missing_runs_are_trained(define, tmp_path):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke"), RunStore(tmp_path / "runs")
    trained = []

    class Recording(experiments.Trainer):
        def __init__(self, plan, work_folder):
            trained.append((plan.settings.algorithm, plan.seeds))
            super().__init__(plan, work_folder)

    train(runs[1:2], store)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "Trainer", Recording)
        train(runs, store)
    first, second = published_seeds()[:2]
    # Base lacks one seed; PAVE and its variant compute the same terms and train as one program.
    assert trained == [("td3", (first,)), ("td3", (first, second, first, second)), ("sac", (first, second))]


def test_a_batch_killed_between_two_saves_is_finished_from_its_checkpoint(define, tmp_path):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke")[2:4], RunStore(tmp_path / "runs")
    saved = []

    def save_one_then_die(*arguments):
        if saved:
            raise KeyboardInterrupt
        saved.append(True)
        original(*arguments)

    original = experiments._save
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "_save", save_one_then_die)
        with pytest.raises(KeyboardInterrupt):
            train(runs, store)
    starts = []

    class Recording(experiments.Trainer):
        def run(self, progress):
            return super().run(lambda step: starts.append(step) or progress(step))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "Trainer", Recording)
        assert len(train(runs, store)) == 2
    assert starts[0] == 50


def test_runs_that_do_not_fit_into_memory_train_in_parts(define, tmp_path, monkeypatch):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke")[2:6], RunStore(tmp_path / "runs")
    sizes = []

    class Small(experiments.Trainer):
        def run(self, progress):
            sizes.append(len(self.plan.seeds))
            if len(self.plan.seeds) > 1:
                raise torch.OutOfMemoryError
            return super().run(progress)

    monkeypatch.setattr(experiments, "Trainer", Small)
    assert len(train(runs, store)) == len(runs)
    assert sizes == [4, 2, 1, 1, 2, 1, 1]
    assert not list(tmp_path.glob("runs/unfinished/*/*"))


def test_the_parts_are_those_that_free_memory_allows_and_survive_a_kill(define, tmp_path, monkeypatch):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke")[2:6], RunStore(tmp_path / "runs")
    sizes = []

    class Recording(experiments.Trainer):
        def run(self, progress):
            sizes.append(len(self.plan.seeds))
            if len(sizes) == 2:
                raise KeyboardInterrupt
            return super().run(progress)

    monkeypatch.setattr(experiments, "Trainer", Recording)
    monkeypatch.setattr(experiments, "runs_that_fit", lambda device, each: 3)
    with pytest.raises(KeyboardInterrupt):
        train(runs, store)
    monkeypatch.setattr(experiments, "runs_that_fit", lambda device, each: 2)
    assert len(train(runs, store)) == len(runs)
    assert sizes == [3, 1, 1]


@pytest.mark.parametrize("content", [b"", b"\xff", b"null", b'[["unknown"]]', b"[[]]"])
def test_a_damaged_note_of_the_parts_is_passed_over(define, tmp_path, content):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke")[2:6], RunStore(tmp_path / "runs")
    folder = experiments._work_folder(runs, store)
    (folder / experiments.PARTS_FILE).write_bytes(content)
    assert experiments._parts(runs, store, experiments.Hardware("cpu")) == [runs]


def test_one_run_too_large_for_the_memory_is_an_error(define, tmp_path, monkeypatch):
    define("tiny")
    monkeypatch.setattr(experiments.Trainer, "run", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(MemoryError, match="one run alone.*pendulum"):
        train(load_experiment("tiny", "smoke"), RunStore(tmp_path / "runs"))


def test_groups_train_side_by_side_with_the_same_numbers(define, tmp_path):
    define("tiny")
    runs = load_experiment("tiny", "smoke")
    alone, together = RunStore(tmp_path / "alone"), RunStore(tmp_path / "together")
    pairs = zip(train(runs, alone), train(runs, together, workers=2), strict=True)
    for one, other in pairs:
        pd.testing.assert_frame_equal(one.table("episodes"), other.table("episodes"))


def test_tables_of_many_records_are_tidy(define, tmp_path):
    define("tiny")
    runs, store = load_experiment("tiny", "smoke"), RunStore(tmp_path / "runs")
    records = train(runs, store)
    table = tidy(records, "episodes")
    assert list(table.columns[:4]) == ["environment", "algorithm", "method", "seed"]
    assert len(table) == len(runs)
    with pytest.raises(ValueError, match="'nonsense'"):
        tidy(records, "nonsense")
    networks = networks_from_bytes(records[0].file("networks.pt"))
    assert networks.description["seed"] == runs[0].seed


def test_the_name_of_a_run_changes_with_whatever_determines_it(define, tmp_path):
    define("tiny")
    run, store = load_experiment("tiny", "smoke")[0], RunStore(tmp_path)
    others = [
        dataclasses.replace(run, seed=1),
        dataclasses.replace(run, coefficients=Coefficients(mpr=1.0)),
        dataclasses.replace(run, settings=dataclasses.replace(run.settings, gamma=0.9)),
        dataclasses.replace(run, budget=dataclasses.replace(run.budget, steps=150)),
    ]
    assert len({store.name(one.spec()) for one in [run, *others]}) == 5
