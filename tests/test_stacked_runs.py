"""Runs that train in one stack end with the numbers they have when each trains alone, in float64."""

import copy
import dataclasses

import pytest
import torch

from paperlib.pave.engine.actor_critic import DIAGNOSTICS
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.sac import SAC
from paperlib.pave.engine.settings import Coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.td3 import TD3

AGENTS = {"td3": TD3, "sac": SAC}
SEEDS = (11, 22, 33, 44, 55, 66)
STATE_DIM, ACTION_DIM, ROWS, UPDATES = 4, 2, 12, 6
TOLERANCE = 1e-10

BASE = Coefficients()
CAPS = Coefficients(caps_temporal=0.3, caps_spatial=0.7, caps_sigma=0.4)
GRAD = Coefficients(grad_temporal=0.9)
ASAP = Coefficients(grad_temporal=0.05, asap_spatial=0.3, asap_predictor=2.0)
PAVE_TERMS = {"weighted_mpr", "weighted_vfc", "weighted_curv"}
PAVE = Coefficients(mpr=0.4, vfc=0.2, curv=0.5, sigma=0.3, delta=2.0)
CAPS_AND_PAVE = dataclasses.replace(PAVE, caps_temporal=0.3, caps_spatial=0.7)

STACKS = {
    "base": (BASE, BASE, BASE),
    "caps": (CAPS, Coefficients(caps_spatial=2.0), BASE),
    "grad": (GRAD, BASE, Coefficients(grad_temporal=0.1)),
    "asap": (
        ASAP,
        dataclasses.replace(ASAP, asap_spatial=1.0, asap_target_tau=0.5),
        dataclasses.replace(ASAP, grad_temporal=0.0),
    ),
    "pave": (PAVE, BASE, dataclasses.replace(PAVE, curv=0.0, sigma=0.05, delta=0.2)),
    "caps+pave": (CAPS_AND_PAVE, CAPS, PAVE),
    "all methods": (BASE, CAPS, GRAD, ASAP, PAVE, CAPS_AND_PAVE),
}


def make_agent(algorithm, coefficients, seeds):
    settings = dataclasses.replace(published_settings(algorithm, "walker"), hidden=(7, 6), batch_size=ROWS)
    streams = RandomStreams(seeds, device=torch.device("cpu"), dtype=torch.float64, block=4)
    return AGENTS[algorithm](settings, coefficients, STATE_DIM, ACTION_DIM, streams)


def run_batch(seed, update):
    """One run's minibatch, (1, B, .), the same whichever runs train beside it."""
    source = torch.Generator().manual_seed(1000 * seed + update)

    def normal(*shape):
        return torch.randn(1, ROWS, *shape, generator=source, dtype=torch.float64)

    states, next_states, previous = (normal(STATE_DIM) for _ in range(3))
    actions, rewards, continues, has_previous = normal(ACTION_DIM).tanh(), normal(), normal() > -1, normal() > -1
    return Minibatch(states, actions, rewards, next_states, continues.double(), previous, has_previous.double())


def train(agent, seeds):
    for update in range(UPDATES):
        batch = Minibatch(*map(torch.cat, zip(*(run_batch(seed, update) for seed in seeds), strict=True)))
        agent.update(batch, agent.draw_noise(batch))
    return agent


def tensors(agent):
    """Parameters, Adam state and targets by name; the leading axis counts networks, two per run for critics."""
    found = {}
    for name in ("actor", "actor_target", "predictor_target", "critic", "critic_target"):
        if hasattr(agent, name):
            found |= {f"{name}.{key}": value for key, value in getattr(agent, name).state_dict().items()}
    for name in ("actor", "critic"):
        optimizer = getattr(agent, f"{name}_optimizer")
        for key, parameter in getattr(agent, name).named_parameters():
            state = optimizer.state[parameter]
            found |= {f"{name}.{key}.{moment}": state[moment] for moment in ("exp_avg", "exp_avg_sq")}
    return found


def assert_close(name, actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE, msg=lambda text: f"{name}: {text}")


def assert_same_run(stacked, row, alone):
    """Row `row` of a stack equals a stack of that run only; the actor of the former may have a predictor head more."""
    together = tensors(stacked)
    for name, expected in tensors(alone).items():
        networks = len(expected)
        actual = together[name][row * networks : (row + 1) * networks, ..., : expected.shape[-1]]
        assert_close(name, actual, expected)
    reported = [i for i, name in enumerate(DIAGNOSTICS) if name not in PAVE_TERMS or "pave" in alone.terms]
    assert_close("diagnostics", stacked.diagnostics[row, reported], alone.diagnostics[0, reported])
    steps = [{int(s["step"]) for s in a.actor_optimizer.state.values()} for a in (stacked, alone)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("algorithm", AGENTS)
def test_stacked_runs_equal_separate_runs(algorithm, stack):
    coefficients = STACKS[stack]
    seeds = SEEDS[: len(coefficients)]
    stacked = train(make_agent(algorithm, coefficients, seeds), seeds)
    assert stacked.updates == UPDATES
    for row, (one, seed) in enumerate(zip(coefficients, seeds, strict=True)):
        assert_same_run(stacked, row, train(make_agent(algorithm, [one], [seed]), [seed]))


@pytest.mark.parametrize("algorithm", AGENTS)
@pytest.mark.parametrize("other", (CAPS, GRAD, ASAP, PAVE), ids=("caps", "grad", "asap", "pave"))
def test_every_term_changes_the_run_that_uses_it_and_only_that(algorithm, other):
    base = make_agent(algorithm, (BASE, BASE), (5, 6))
    mixed = make_agent(algorithm, (BASE, other), (5, 6))
    before, after = tensors(train(base, (5, 6))), tensors(train(mixed, (5, 6)))
    critic, head = "critic.weights.0", "actor.weights.2"
    width = before[head].shape[-1]
    assert_close(head, after[head][0, :, :width], before[head][0])
    assert_close(critic, after[critic][:2], before[critic][:2])
    assert (after[head][1, :, :width] - before[head][1]).abs().max() > 1e-6


@pytest.mark.parametrize("algorithm", AGENTS)
def test_two_runs_of_one_seed_and_one_method_are_the_same_run(algorithm):
    twins = train(make_agent(algorithm, (PAVE, PAVE), (8, 8)), (8, 8))
    for name, tensor in tensors(twins).items():
        half = len(tensor) // 2
        assert_close(name, tensor[:half], tensor[half:])


def test_a_run_that_diverges_leaves_its_neighbours_alone():
    def train_with_broken_second_run(agent):
        for update in range(4):
            batch = Minibatch(*map(torch.cat, zip(run_batch(1, update), run_batch(2, update), strict=True)))
            batch.rewards[1] = float("inf")
            agent.environment_step = 100 + update
            agent.update(batch, agent.draw_noise(batch))
        return agent

    stacked = train_with_broken_second_run(make_agent("td3", (PAVE, PAVE), (1, 2)))
    alone = make_agent("td3", (PAVE,), (1,))
    for update in range(4):
        batch = run_batch(1, update)
        alone.update(batch, alone.draw_noise(batch))
    assert stacked.diverged_at.tolist() == [-1, 100]
    assert_same_run(stacked, 0, alone)


@pytest.mark.parametrize("algorithm", AGENTS)
def test_a_restored_agent_continues_as_if_it_had_never_stopped(algorithm):
    coefficients = (ASAP, CAPS_AND_PAVE)
    first = train(make_agent(algorithm, coefficients, (1, 2)), (1, 2))
    restored = make_agent(algorithm, coefficients, (3, 4))
    restored.load_state_dict(copy.deepcopy(first.state_dict()))
    first.streams.discard()
    restored.streams = RandomStreams((1, 2), device=torch.device("cpu"), dtype=torch.float64, block=4)
    restored.streams.load_state_dict(first.streams.state_dict())
    expected = tensors(train(first, (1, 2)))
    for name, tensor in tensors(train(restored, (1, 2))).items():
        assert torch.equal(tensor, expected[name]), name


def test_asaps_target_follows_each_run_at_the_runs_own_rate():
    rates = (0.0, 0.25, 1.0)
    agent = make_agent("td3", [dataclasses.replace(ASAP, asap_target_tau=rate) for rate in rates], SEEDS[:3])
    with torch.no_grad():
        for parameter in agent.actor.parameters():
            parameter += 1
    before = copy.deepcopy(agent.predictor_target)
    agent.step_predictor_target()
    for moved, old in zip(agent.predictor_target.parameters(), before.parameters(), strict=True):
        by = torch.tensor(rates, dtype=torch.float64)[:, None, None].expand_as(old)
        assert_close("target", moved - old, by)
