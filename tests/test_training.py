"""The training loop: determinism, resumption, divergence, and a snapshot of one short run."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from paperlib.pave.settings import METHODS, Coefficients, published_coefficients, published_settings
from paperlib.pave.training import Trainer, TrainingPlan

SNAPSHOT = Path(__file__).parent / "snapshots" / "training_trace.json"


def small_plan(algorithm="td3", methods=("base", "pave"), **changes) -> TrainingPlan:
    settings = dataclasses.replace(
        published_settings(algorithm, "pendulum"), hidden=(16, 16), batch_size=16, learning_starts=50, buffer_size=120
    )
    if algorithm == "sac":
        settings = dataclasses.replace(settings, train_freq=10, gradient_steps=10)
    values = {
        "environment": "pendulum",
        "settings": settings,
        "seeds": tuple(range(5, 5 + len(methods))),
        "coefficients": tuple(published_coefficients(m, algorithm, "pendulum") for m in methods),
        "steps": 200,
        "evaluate_every": 50,
        "evaluation_episodes": 1,
        "final_episodes": 2,
        "checkpoint_every": 70,
        "backend": "gymnasium",
    }
    return TrainingPlan(**(values | changes))


def assert_same_results(first, second):
    assert [r.seed for r in first] == [r.seed for r in second]
    for one, other in zip(first, second, strict=True):
        assert one.tables.keys() == other.tables.keys()
        for name, table in one.tables.items():
            pd.testing.assert_frame_equal(table, other.tables[name], check_exact=True)
        assert one.networks == other.networks


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_two_identical_trainings_give_identical_records(algorithm):
    plan = small_plan(algorithm, METHODS)
    assert_same_results(Trainer(plan).run(), Trainer(plan).run())


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
def test_a_run_does_not_depend_on_the_runs_beside_it(algorithm):
    plan = small_plan(algorithm, ("pave", "pave", "pave"), dtype="float64")
    together = Trainer(plan).run()
    for run, result in enumerate(together):
        alone = dataclasses.replace(
            plan, seeds=plan.seeds[run : run + 1], coefficients=plan.coefficients[run : run + 1]
        )
        expected = Trainer(alone).run()[0]
        for name, table in expected.tables.items():
            pd.testing.assert_frame_equal(table, result.tables[name], check_exact=False, rtol=1e-6)


class Killed(Exception):
    """Stands for the kill that stops a training."""


@pytest.mark.parametrize("algorithm", ["td3", "sac"])
@pytest.mark.parametrize("stop_at", [50, 100, 150])
def test_training_resumed_from_a_checkpoint_equals_uninterrupted_training(algorithm, stop_at, tmp_path):
    plan = small_plan(algorithm, ("base", "asap", "pave"))

    def stop(step):
        if step == stop_at:
            raise Killed

    with pytest.raises(Killed):
        Trainer(plan, tmp_path).run(stop)
    assert (tmp_path / "checkpoint.pt").exists() == (stop_at > 70)
    assert_same_results(Trainer(plan, tmp_path).run(), Trainer(plan).run())


KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import small_plan
from paperlib.pave.training import Trainer
Trainer(small_plan("td3"), Path({folder!r})).run(lambda step: step == 200 and os.kill(os.getpid(), signal.SIGKILL))
"""


def test_training_goes_on_after_sigkill(tmp_path):
    script = KILLED_TRAINING.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    plan = small_plan("td3")
    steps = []
    resumed = Trainer(plan, tmp_path).run(steps.append)
    assert steps[0] == 140  # the last checkpoint before step 200
    assert_same_results(resumed, Trainer(plan).run())


def test_a_damaged_checkpoint_is_reported_and_training_starts_anew(tmp_path):
    plan = small_plan()
    (tmp_path / "checkpoint.pt").write_bytes(b"half a checkpo")
    with pytest.warns(UserWarning, match="cannot be read"):
        results = Trainer(plan, tmp_path).run()
    assert_same_results(results, Trainer(plan).run())


def test_a_checkpoint_of_another_plan_is_refused(tmp_path):
    Trainer(small_plan(), tmp_path).run()
    with pytest.raises(ValueError, match="another plan"):
        Trainer(small_plan(steps=250), tmp_path).run()


def test_a_diverging_run_is_told_with_its_step_and_leaves_the_others_alone():
    exploding = Coefficients(mpr=math.inf)
    plan = small_plan(methods=("pave", "pave"))
    plan = dataclasses.replace(plan, coefficients=(plan.coefficients[0], exploding))
    healthy, diverged = Trainer(plan).run()
    assert diverged.diverged_at_step == 51  # the first update
    assert diverged.networks is None and "episodes" not in diverged.tables
    assert healthy.diverged_at_step is None
    alone = dataclasses.replace(plan, seeds=plan.seeds[:1], coefficients=plan.coefficients[:1])
    np.testing.assert_allclose(
        Trainer(alone).run()[0].tables["evaluations"]["return"], healthy.tables["evaluations"]["return"], rtol=1e-4
    )


def test_episodes_are_cut_at_checkpoints_and_cut_episodes_are_bootstrapped():
    plan = small_plan(checkpoint_every=150)
    trainer = Trainer(dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, buffer_size=200)))
    trainer.run()
    continues, has_previous = trainer.replay.rows[0, :, -2], trainer.replay.rows[0, :, -1]
    assert bool((continues == 1).all())  # Pendulum never terminates
    assert torch.nonzero(has_previous == 0).flatten().tolist() == [0, 150]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 225}, "no multiple of evaluate_every"),
        ({"seeds": (1,)}, "1 seeds and 2 coefficients"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        small_plan(**changes)


def test_training_follows_the_recorded_trace():
    """A refactoring must not change what is learnt. After a change that should, delete the file and run this twice."""
    trace = {}
    for algorithm in ("td3", "sac"):
        results = Trainer(small_plan(algorithm, METHODS, dtype="float64")).run()
        for method, result in zip(METHODS, results, strict=True):
            columns = ["return", "smoothness", "td_loss", "actor_loss", "mixed_hessian_sup"]
            trace[f"{algorithm} {method}"] = result.tables["evaluations"][columns].iloc[-1].tolist()
    if not SNAPSHOT.exists():
        SNAPSHOT.parent.mkdir(exist_ok=True)
        SNAPSHOT.write_text(json.dumps(trace, indent=1) + "\n")
        pytest.fail(f"no snapshot: wrote {SNAPSHOT.name}; check it and run again")
    recorded = json.loads(SNAPSHOT.read_text())
    assert trace.keys() == recorded.keys()
    for key, values in trace.items():
        np.testing.assert_allclose(values, recorded[key], rtol=1e-5, err_msg=key)
