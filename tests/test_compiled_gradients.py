"""Compiled equals eager: the same losses, gradients and parameters after each of some updates from the same start."""

import dataclasses

import pytest
import torch
from torch._dynamo.utils import counters

from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.sac import SAC
from paperlib.pave.engine.settings import published_coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.td3 import TD3

AGENTS = {"td3": TD3, "sac": SAC}
STATE_DIM, ACTION_DIM, ROWS, UPDATES = 5, 3, 16, 5
SEEDS = (1, 2)

# In float64 a wrong formula has nowhere to hide. In float32, as runs are trained, the two round differently, and Adam
# makes steps of one size of gradients however small: gradients and steps are compared as a whole.
LOSSES = {torch.float64: 1e-10, torch.float32: 1e-4}
GRADIENTS = {torch.float64: 1e-10, torch.float32: 1e-3}
STEPS = {torch.float64: 1e-6, torch.float32: 3e-2}


@pytest.fixture(scope="module", autouse=True)
def compiler():
    try:
        torch.compile(lambda x: x.sin() + 1)(torch.ones(8))
    except torch._dynamo.exc.TorchDynamoException as error:
        pytest.skip(f"torch.compile does not work here: {str(error).splitlines()[0]}")


def make_agent(algorithm, method, dtype, compiled):
    small = {"hidden": (12, 10), "batch_size": ROWS}
    settings = dataclasses.replace(published_settings(algorithm, "walker"), **small)
    coefficients = [published_coefficients(method, algorithm, environment) for environment in ("walker", "pendulum")]
    streams = RandomStreams(SEEDS, device=torch.device("cpu"), dtype=dtype)
    return AGENTS[algorithm](settings, coefficients, STATE_DIM, ACTION_DIM, streams, compiled=compiled)


def batches(dtype):
    source = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(len(SEEDS), ROWS, *shape, generator=source, dtype=torch.float64).to(dtype)

    for _ in range(UPDATES):
        actions, continues = normal(ACTION_DIM).tanh(), (normal() > -1).to(dtype)
        yield Minibatch(normal(STATE_DIM), actions, normal(), normal(STATE_DIM), continues)


def flat(tensors):
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def parameters(agent):
    return flat([*agent.actor.parameters(), *agent.critic.parameters(), *agent.critic_target.parameters()])


def gradients(network):
    return flat([p.grad if p.grad is not None else torch.zeros_like(p) for p in network.parameters()])


def distance(one, other):
    """Of two vectors, relative to the second's size."""
    return float((one - other).norm() / other.norm()) if other.any() else float(one.norm())


@pytest.mark.filterwarnings("error:.*uncompiled")
@pytest.mark.parametrize(
    "algorithm, method, dtype",
    [
        ("td3", "base", torch.float64),
        ("sac", "base", torch.float64),
        ("td3", "pave", torch.float64),
        ("sac", "pave", torch.float64),
        ("td3", "pave", torch.float32),
        ("sac", "pave", torch.float32),
    ],
)
def test_compiled_updates_equal_eager_ones(algorithm, method, dtype):
    torch._dynamo.reset()
    counters.clear()
    compiled, eager = (make_agent(algorithm, method, dtype, switch) for switch in (True, False))
    start = parameters(eager)
    assert torch.equal(parameters(compiled), start)
    for batch in batches(dtype):
        for agent in (compiled, eager):
            agent.update(batch, agent.draw_noise(batch))
        assert distance(compiled.diagnostics, eager.diagnostics) <= LOSSES[dtype]
        for network in ("critic", "actor"):
            found, expected = (gradients(getattr(agent, network)) for agent in (compiled, eager))
            assert distance(found, expected) <= GRADIENTS[dtype]
        assert distance(parameters(compiled) - start, parameters(eager) - start) <= STEPS[dtype]
    assert counters["stats"]["unique_graphs"] > 0
