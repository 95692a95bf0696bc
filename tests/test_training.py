"""The training loop: determinism, resumption, divergence, and a snapshot of one short run."""

import dataclasses
import itertools
import json
import math
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from paperlib.pave.engine import training
from paperlib.pave.engine.settings import METHODS, Coefficients, published_coefficients, published_settings
from paperlib.pave.engine.training import Trainer, TrainingPlan
from paperlib.repro import sealed_file
from paperlib.repro.sealed_file import SetAsideWarning

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


@pytest.mark.parametrize(
    ("algorithm", "stop_at", "compiled"),
    [*itertools.product(["td3", "sac"], [50, 100, 150], [False]), ("td3", 100, True)],
)
def test_training_resumed_from_a_checkpoint_equals_uninterrupted_training(algorithm, stop_at, compiled, tmp_path):
    plan = small_plan(algorithm, ("base", "asap", "pave"), compiled=compiled)

    def stop(step):
        if step == stop_at:
            raise Killed

    with pytest.raises(Killed):
        Trainer(plan, tmp_path).run(stop)
    assert (tmp_path / "checkpoint.pt").exists() == (stop_at > 70)
    assert_same_results(Trainer(plan, tmp_path).run(), Trainer(plan).run())


def test_the_environments_are_closed_when_training_stops_on_an_error(monkeypatch):
    closed = []
    monkeypatch.setattr(training.EnvironmentBatch, "close", lambda self: closed.append(self.spec.key))
    monkeypatch.setattr(Trainer, "learn", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Trainer(small_plan()).run()
    assert closed == ["pendulum"]


KILLED_TRAINING = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_training import small_plan
from paperlib.pave.engine.training import Trainer
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
    expected = Trainer(plan, tmp_path).run()
    checkpoint = tmp_path / "checkpoint.pt"
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1  # among the weights and transitions, where torch sees nothing wrong
    checkpoint.write_bytes(content)
    with pytest.warns(SetAsideWarning, match="checkpoint.pt is damaged"):
        results = Trainer(plan, tmp_path).run()
    assert_same_results(results, expected)


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A checkpoint of `small_plan()` before the first step, which is as good as any to be refused."""
    Trainer(small_plan(), tmp_path)._save()
    return tmp_path / "checkpoint.pt"


def assert_begins_anew(folder: Path, match: str, plan: TrainingPlan | None = None) -> None:
    plan = plan or small_plan()
    trainer, fresh = Trainer(plan, folder), Trainer(plan)
    with pytest.warns(SetAsideWarning, match=match) as caught:
        trainer._resume()
    assert len(caught) == 1
    assert trainer.step == 0 and trainer.evaluations == [] and len(trainer.replay) == 0
    for one, other in zip(trainer.agent.critic.parameters(), fresh.agent.critic.parameters(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(trainer.streams.uniform("minibatch", 3), fresh.streams.uniform("minibatch", 3))
    assert (folder / "checkpoint.pt.unusable").exists()


def resealed(folder: Path, change) -> None:
    """Change the state in a checkpoint and seal it again, as no damage could."""
    trainer = Trainer(small_plan(), folder)
    load = partial(torch.load, weights_only=True)
    state = sealed_file.read(folder / "checkpoint.pt", trainer._about(), load)
    change(state)
    sealed_file.write(folder / "checkpoint.pt", trainer._about(), lambda file: torch.save(state, file))


@pytest.mark.parametrize("key", ["agent", "replay", "streams", "step", "evaluations"])
def test_a_checkpoint_that_lacks_something_is_no_bare_error(checkpoint, key):
    resealed(checkpoint.parent, lambda state: (state.update(step=50), state.pop(key)))
    assert_begins_anew(checkpoint.parent, rf"checkpoint.pt cannot be read \(KeyError: '{key}'\)")


def test_a_checkpoint_that_holds_another_object_is_no_bare_error(checkpoint):
    resealed(checkpoint.parent, lambda state: state.update(agent=[1, 2]))
    assert_begins_anew(checkpoint.parent, "checkpoint.pt cannot be read")


class Planted:
    """An object whose unpickling runs code."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a checkpoint ran')",))


def test_no_code_in_a_checkpoint_runs(checkpoint):
    resealed(checkpoint.parent, lambda state: state.update(step=Planted()))
    assert_begins_anew(checkpoint.parent, "checkpoint.pt cannot be read")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"compiled": True}, "plan.compiled was false, is true"),
        ({"dtype": "float64"}, 'plan.dtype was "float32", is "float64"'),
        ({"steps": 250}, "plan.steps was 200, is 250"),
    ],
)
def test_a_checkpoint_of_another_plan_or_made_with_other_switches_is_set_aside(checkpoint, changes, match):
    assert_begins_anew(checkpoint.parent, match, small_plan(**changes))


def test_a_checkpoint_of_other_code_or_another_torch_is_set_aside(checkpoint, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(training, "_code", lambda: "0" * 16)
        assert_begins_anew(checkpoint.parent, "code was")
    Trainer(small_plan(), checkpoint.parent)._save()
    monkeypatch.setattr(sealed_file.metadata, "version", lambda package: "99.0")
    assert_begins_anew(checkpoint.parent, "versions.torch was")


@pytest.mark.parametrize(
    ("far_out", "reason"), [(1e4, "critic has no second derivative"), (1e38, "critic returned (-?inf|nan)")]
)
def test_a_run_whose_critic_has_no_curvature_or_no_value_left_diverges_and_the_others_go_on(far_out, reason):
    plan = small_plan(methods=("base", "base"), steps=50)  # no updates yet
    trainer = Trainer(plan)
    with torch.no_grad():
        trainer.agent.critic.biases[0][2] = far_out  # SiLU is a line there
        trainer.agent.critic.weights[1][2] *= far_out / 1e4
    with pytest.warns(UserWarning, match=f"seed 6 diverged at step 50: {reason}"):
        healthy, flat = trainer.run()
    assert (flat.diverged_at_step, flat.networks) == (50, None)
    assert_same_results([healthy], Trainer(plan).run()[:1])


def test_a_run_whose_measures_overflow_diverges_and_is_recorded_until_then(monkeypatch):
    plan = small_plan(methods=("base", "base"), steps=50)
    trainer = Trainer(plan)
    table = pd.DataFrame({"action_units": ["scaled"], "mixed_hessian_sup": [math.inf]})
    monkeypatch.setattr(training, "final_tables", lambda networks, episodes: {"geometry": table})
    with pytest.warns(UserWarning, match="diverged at step 50: what is measured of its critic is not finite"):
        results = trainer.run()
    assert [result.diverged_at_step for result in results] == [50, 50]
    assert set(results[0].tables) == {"evaluations"}
    monkeypatch.setattr(training, "unweighted_losses", lambda *_: [{"mpr": 0.0}, {"mpr": math.nan}])
    trainer = Trainer(plan)
    with pytest.warns(UserWarning, match="seed 6 diverged at step 50: what is measured of its critic is not finite"):
        trainer.run()
    assert [row["run"] for row in trainer.evaluations] == [0]


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
