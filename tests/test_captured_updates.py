"""CUDA graphs of the update: inputs at fixed addresses; on a GPU, the numbers of eager updates and of a CPU."""

import dataclasses
from typing import NamedTuple

import pytest
import torch

from paperlib.pave.engine.captured_updates import EAGER_CALLS, StaticInputs
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.sac import SAC
from paperlib.pave.engine.settings import published_coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.td3 import TD3
from paperlib.pave.engine.training import TrainingPlan

AGENTS = {"td3": TD3, "sac": SAC}
METHODS = ("base", "caps", "grad", "asap", "pave")


class Inputs(NamedTuple):
    values: torch.Tensor
    more: torch.Tensor | None = None


def test_inputs_are_refilled_in_place():
    static = StaticInputs(Inputs(torch.zeros(3), None), Inputs(torch.zeros(2), torch.zeros(1)))
    addresses = [t.data_ptr() for t in (static.inputs[0].values, *static.inputs[1])]
    static.refill(Inputs(torch.ones(3)), Inputs(torch.full((2,), 2.0), torch.full((1,), 3.0)))
    assert [t.data_ptr() for t in (static.inputs[0].values, *static.inputs[1])] == addresses
    assert static.inputs[0].values.tolist() == [1, 1, 1]
    assert [t.tolist() for t in static.inputs[1]] == [[2, 2], [3]]


@pytest.mark.parametrize("held, given", [(None, torch.ones(1)), (torch.ones(1), None)])
def test_inputs_that_come_and_go_are_refused(held, given):
    with pytest.raises(ValueError, match="more"):
        StaticInputs(Inputs(torch.zeros(1), held)).refill(Inputs(torch.zeros(1), given))


def test_capture_is_refused_on_a_cpu():
    settings = published_settings("sac", "pendulum")
    with pytest.raises(ValueError, match="CUDA"):
        TrainingPlan(
            environment="pendulum",
            settings=settings,
            seeds=(1,),
            coefficients=(published_coefficients("base", "sac", "pendulum"),),
            steps=100,
            evaluate_every=50,
            evaluation_episodes=1,
            final_episodes=1,
            checkpoint_every=50,
            captured=True,
        )


def minibatch(seed: int) -> Minibatch:
    """Random transitions of three runs on Pendulum."""
    source = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(3, 100, *shape, generator=source)

    states, next_states, previous = (normal(3) for _ in range(3))
    actions, rewards, continues, has_previous = normal(1).tanh(), normal(), normal() > -1, normal() > -1
    return Minibatch(states, actions, rewards, next_states, continues.float(), previous, has_previous.float())


def trained(algorithm: str, method: str, device: str, *, captured: bool, updates: int = 12):
    """An agent after some updates on fixed minibatches and noise, both drawn on the CPU."""
    settings = dataclasses.replace(published_settings(algorithm, "pendulum"), batch_size=100)
    coefficients = [published_coefficients(method, algorithm, "pendulum")] * 3
    seeds = (1, 2, 3)
    on_cpu = RandomStreams(seeds, device=torch.device("cpu"), dtype=torch.float32)
    source = AGENTS[algorithm](settings, coefficients, 3, 1, on_cpu)
    streams = RandomStreams(seeds, device=torch.device(device), dtype=torch.float32)
    agent = AGENTS[algorithm](settings, coefficients, 3, 1, streams, captured=captured)
    agent.load_state_dict(source.state_dict())
    for update in range(updates):
        batch = minibatch(update)
        noise = source.draw_noise(batch)
        agent.update(*(type(t)(*(None if x is None else x.to(device) for x in t)) for t in (batch, noise)))
    return agent


def numbers(agent) -> list[torch.Tensor]:
    """Parameters and targets, optimiser state, losses."""
    state = agent.state_dict()
    networks = [t for network in state["networks"].values() for t in network.values()]
    moments = [t for optimizer in state["optimizers"] for row in optimizer["state"].values() for t in row.values()]
    return [t.detach().double().cpu() for t in (*networks, *moments, state["diagnostics"])]


def test_the_comparison_below_tells_numbers_apart():
    one, other = (numbers(trained("sac", "base", "cpu", captured=False, updates=n)) for n in (2, 3))
    assert any(not torch.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(one, other, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("algorithm", AGENTS)
class TestOnAGPU:
    def test_captured_updates_equal_eager_ones(self, algorithm, method):
        assert EAGER_CALLS * 2 < 12
        eager, captured = (numbers(trained(algorithm, method, "cuda", captured=switch)) for switch in (False, True))
        for one, other in zip(eager, captured, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)

    def test_gpu_and_cpu_agree(self, algorithm, method):
        cpu, gpu = (numbers(trained(algorithm, method, device, captured=False)) for device in ("cpu", "cuda"))
        for one, other in zip(cpu, gpu, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-4)
