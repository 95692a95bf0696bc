"""Compilation and precision change rounding alone: losses and gradients by no more than stated, and never a draw."""

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from paperlib.pave.engine import actor_critic, networks
from paperlib.pave.engine.networks import require_fast_bfloat16
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.settings import PRECISIONS, Coefficients, published_coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.training import AGENTS, Trainer, TrainingPlan

STATE_DIM, ACTION_DIM, ROWS = 3, 1, 64


@pytest.fixture
def emulated(monkeypatch):
    """Mixed precision is let through: slow bfloat16 products are the same numbers, at another speed."""
    monkeypatch.setattr(actor_critic, "require_fast_bfloat16", lambda device: None)


def agent(algorithm, methods=("base", "pave"), *, compiled=False, precision="float32"):
    settings = dataclasses.replace(
        published_settings(algorithm, "pendulum"), hidden=(32, 24), batch_size=ROWS, precision=precision
    )
    coefficients = [published_coefficients(method, algorithm, "pendulum") for method in methods]
    streams = RandomStreams(range(len(methods)), device=torch.device("cpu"), dtype=torch.float32, block=4)
    return AGENTS[algorithm](settings, coefficients, STATE_DIM, ACTION_DIM, streams, compiled=compiled)


def minibatch(runs, dtype=torch.float32):
    source = torch.Generator().manual_seed(1)

    def normal(*shape):
        return torch.randn(runs, ROWS, *shape, generator=source, dtype=torch.float64).to(dtype)

    states = normal(STATE_DIM)
    return Minibatch(
        states, normal(ACTION_DIM).tanh(), normal(), states + 0.1 * normal(STATE_DIM), normal().sign().relu()
    )


def critic_gradients(one, batch, noise):
    """The critics' terms, (R, 4), and every run's gradient, flat, as an update takes them."""
    terms, gradient = one._critic_gradient(batch, noise)
    return terms, torch.cat([g.reshape(one.runs, -1) for g in gradient], dim=1)


def relative_errors(gradient, exact):
    """Of every run's gradient."""
    return ((gradient - exact).norm(dim=1) / exact.norm(dim=1)).tolist()


def training_plan(algorithm, **changes):
    """Base and PAVE side by side on Pendulum, with some 150 updates."""
    settings = dataclasses.replace(
        published_settings(algorithm, "pendulum"), hidden=(16, 16), batch_size=16, learning_starts=50
    )
    if algorithm == "sac":
        settings = dataclasses.replace(settings, train_freq=10, gradient_steps=10)
    settings = dataclasses.replace(settings, precision=changes.pop("precision", "float32"))
    coefficients = tuple(published_coefficients(method, algorithm, "pendulum") for method in ("base", "pave"))
    budget = {"steps": 200, "evaluate_every": 100, "evaluation_episodes": 1, "final_episodes": 1}
    return TrainingPlan(
        "pendulum", settings, (1, 2), coefficients, **budget, checkpoint_every=200, backend="gymnasium", **changes
    )


def trained(algorithm, **switches):
    """Results of a training, and the states of its random generators at the end."""
    trainer = Trainer(training_plan(algorithm, **switches))
    results = trainer.run()
    trainer.streams.discard()
    return results, trainer.streams.state_dict()


def assert_same_draws(one, other):
    assert one.keys() == other.keys()
    for purpose, states in one.items():
        assert all(torch.equal(a, b) for a, b in zip(states, other[purpose], strict=True)), purpose


@pytest.mark.parametrize("algorithm", AGENTS)
def test_compiled_training_follows_eager_training_and_draws_the_same_numbers(algorithm, recwarn):
    (eager, drawn), (compiled, drawn_compiled) = (
        trained(algorithm, compiled=value, dtype="float64") for value in (False, True)
    )
    assert not [warning for warning in recwarn if "torch.compile failed" in str(warning.message)]
    assert_same_draws(drawn, drawn_compiled)
    for one, other in zip(eager, compiled, strict=True):
        for name, table in one.tables.items():
            for column in table.select_dtypes("number"):
                np.testing.assert_allclose(other.tables[name][column], table[column], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("algorithm", AGENTS)
def test_mixed_precision_draws_the_same_numbers(algorithm, emulated):
    assert_same_draws(trained(algorithm)[1], trained(algorithm, precision="mixed")[1])


@pytest.mark.parametrize("algorithm", AGENTS)
def test_mixed_precision_is_near_float32_and_leaves_targets_and_actor_alone(algorithm, emulated):
    agents = [agent(algorithm, precision=precision) for precision in PRECISIONS]
    batch = minibatch(agents[0].runs)
    noise = agents[0].draw_noise(batch)
    for one, other in zip(
        agents[0].actor_gradient(batch, noise)[1], agents[1].actor_gradient(batch, noise)[1], strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(*(one.target_values(batch, noise) for one in agents))
    (terms, gradient), (mixed_terms, mixed_gradient) = (critic_gradients(one, batch, noise) for one in agents)
    torch.testing.assert_close(mixed_terms, terms, rtol=0.02, atol=0)
    assert all(0 < error < 0.03 for error in relative_errors(mixed_gradient, gradient))


def test_mixed_precision_compiles(emulated, recwarn):
    eager, compiled = (agent("td3", ["pave"], precision="mixed", compiled=value) for value in (False, True))
    batch = minibatch(1)
    noise = eager.draw_noise(batch)
    (terms, gradient), (compiled_terms, compiled_gradient) = (
        critic_gradients(one, batch, noise) for one in (eager, compiled)
    )
    assert not [warning for warning in recwarn if "torch.compile failed" in str(warning.message)]
    # A fused pass rounds to bfloat16 at other places, which have eight bits.
    torch.testing.assert_close(compiled_terms, terms, rtol=0.01, atol=0)
    assert relative_errors(compiled_gradient, gradient)[0] < 0.02


@pytest.mark.parametrize(("speedup", "refused"), [(0.02, True), (1.29, True), (1.31, False), (8.0, False)])
def test_mixed_precision_needs_bfloat16_products_that_are_measured_faster(monkeypatch, speedup, refused):
    monkeypatch.setattr(networks, "bfloat16_speedup", lambda: speedup)
    refusal = pytest.raises(ValueError, match=f"at {speedup:.2f} times.*train in float32")
    with refusal if refused else nullcontext():
        agent("td3", precision="mixed")


def test_the_measured_speedup_is_a_ratio_of_the_two_rates(monkeypatch):
    ticks = iter(3 * [0.0, 2.0, 2.0, 3.0])  # float32 takes two units, bfloat16 one
    monkeypatch.setattr(networks, "PRODUCTS_TIMED", 3)
    monkeypatch.setattr(networks.time, "perf_counter", lambda: next(ticks))
    assert networks.bfloat16_speedup.__wrapped__() == 2


def test_mixed_precision_is_refused_off_the_cpu():
    with pytest.raises(ValueError, match="device is 'cuda'"):
        require_fast_bfloat16(torch.device("cuda"))


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision 'float16'"):
        dataclasses.replace(published_settings("td3", "pendulum"), precision="float16")


def test_a_penalty_that_is_differentiated_twice_trains_uncompiled():
    settings = dataclasses.replace(published_settings("td3", "pendulum"), hidden=(8,), batch_size=ROWS)
    streams = RandomStreams([1], device=torch.device("cpu"), dtype=torch.float32)
    one = AGENTS["td3"](settings, [Coefficients(action_gradient=0.1)], STATE_DIM, ACTION_DIM, streams, compiled=True)
    assert one._critic_gradient == one.critic_gradient
