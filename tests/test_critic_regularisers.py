"""SN-Critic, GP-Critic and probes from the sphere: each is what it is called, and leaves the runs beside it alone."""

import dataclasses

import pytest
import torch

from paperlib.pave.engine.actor_critic import DIAGNOSTICS
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.settings import Coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.training import AGENTS
from paperlib.pave.experiments import load_experiment

STATE_DIM, ACTION_DIM, ROWS = 4, 3, 16
BASE = (Coefficients(),)


def agent(algorithm="td3", coefficients=BASE, seeds=(1,), **changes):
    settings = dataclasses.replace(published_settings(algorithm, "walker"), hidden=(9, 7), batch_size=ROWS, **changes)
    streams = RandomStreams(seeds, device=torch.device("cpu"), dtype=torch.float64, block=4)
    return AGENTS[algorithm](settings, list(coefficients), STATE_DIM, ACTION_DIM, streams)


def batch(runs, update):
    source = torch.Generator().manual_seed(update)

    def normal(*shape):
        return torch.randn(1, ROWS, *shape, generator=source, dtype=torch.float64).expand(runs, ROWS, *shape)

    states, next_states = normal(STATE_DIM), normal(STATE_DIM)
    return Minibatch(states, normal(ACTION_DIM).tanh(), normal(), next_states, torch.ones(runs, ROWS).double())


def trained(one, updates):
    for update in updates:
        minibatch = batch(one.runs, update)
        one.update(minibatch, one.draw_noise(minibatch))
    return one


def largest_singular_values(critic):
    return torch.stack([torch.linalg.matrix_norm(weight.detach(), ord=2) for weight in critic.weights])


@pytest.mark.parametrize("algorithm", AGENTS)
def test_an_sn_critic_keeps_the_largest_singular_value_of_every_weight_at_one(algorithm):
    plain, spectral = (trained(agent(algorithm, spectral_critic=value), range(60)) for value in (False, True))
    assert largest_singular_values(spectral.critic).sub(1).abs().max() < 0.02
    assert largest_singular_values(plain.critic).sub(1).abs().max() > 0.1


def test_an_sn_critic_goes_on_from_its_saved_state_as_if_not_interrupted():
    through, begun = trained(agent(spectral_critic=True), range(8)), trained(agent(spectral_critic=True), range(4))
    begun.streams.discard()
    state, streams = begun.state_dict(), begun.streams.state_dict()
    resumed = agent(spectral_critic=True, seeds=(2,))
    resumed.load_state_dict(state)
    resumed.streams.load_state_dict(streams)
    trained(resumed, range(4, 8))
    for one, other in zip(resumed.critic.state_dict().values(), through.critic.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_the_gp_term_is_the_mean_squared_action_gradient_of_both_critics():
    one, minibatch = agent(coefficients=[Coefficients(action_gradient=0.3)]), batch(1, 0)
    expected = 0.0
    for index in range(2):
        critic = one.critic.unstack(index)
        for state, action in zip(minibatch.states[0], minibatch.actions[0], strict=True):
            gradient = torch.autograd.functional.jacobian(lambda a, s=state, q=critic: q(torch.cat([s, a]))[0], action)
            expected += 0.3 * gradient.square().sum().item() / ROWS
    assert one.action_gradient_penalty(minibatch).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("algorithm", AGENTS)
def test_a_run_without_the_gp_term_trains_beside_one_with_it_as_if_alone(algorithm):
    together = trained(agent(algorithm, [Coefficients(action_gradient=0.3), Coefficients()], (1, 2)), range(5))
    alone = trained(agent(algorithm, [Coefficients()], (2,)), range(5))
    for stacked, single in zip(together.critic.parameters(), alone.critic.parameters(), strict=True):
        torch.testing.assert_close(stacked[2:], single, rtol=0, atol=1e-10)
        assert not torch.allclose(stacked[:2], single)


def test_the_gp_term_shrinks_the_action_gradient():
    sizes = []
    for weight in (0.0, 10.0):
        one = trained(agent(coefficients=[Coefficients(action_gradient=weight)]), range(200))
        one.coefficients["action_gradient"].fill_(1.0)
        sizes.append(one.action_gradient_penalty(batch(1, 0)).item())
    assert sizes[1] < 0.7 * sizes[0]


def test_sphere_probes_have_squared_length_d_and_no_preferred_direction():
    streams = RandomStreams([1], device=torch.device("cpu"), dtype=torch.float64)
    probes = streams.sphere("probes", 40_000, ACTION_DIM)[0]
    assert torch.allclose(probes.square().sum(dim=1), torch.full((40_000,), float(ACTION_DIM)).double())
    assert (probes.T @ probes / 40_000 - torch.eye(ACTION_DIM)).abs().max() < 0.02
    fourth = probes.pow(4).mean(dim=0)  # 3 d / (d + 2) on the sphere, one for signs
    assert torch.allclose(fourth, torch.full_like(fourth, 3 * ACTION_DIM / (ACTION_DIM + 2)), rtol=0.05)


def test_an_agent_draws_the_probes_its_settings_name():
    pave = [Coefficients(curv=1.0)]
    signs = agent(coefficients=pave).draw_noise(batch(1, 0)).probes
    sphere = agent(coefficients=pave, probes="sphere").draw_noise(batch(1, 0)).probes
    assert set(signs.unique().tolist()) == {-1.0, 1.0} and len(sphere.unique()) == sphere.numel()
    with pytest.raises(ValueError, match="unknown kind of probes 'cube'; known: rademacher, sphere"):
        agent(probes="cube")


def test_the_experiment_names_what_each_method_changes():
    runs = {run.method: run for run in load_experiment("critic_side", "paper")}
    assert runs["sn_critic"].settings.spectral_critic and runs["sn_critic"].coefficients == Coefficients()
    assert runs["gp_critic"].coefficients.terms() == {"gp"} and not runs["gp_critic"].settings.spectral_critic
    assert runs["pave_sphere"].settings.probes == "sphere"
    assert runs["pave_sphere"].coefficients == runs["pave"].coefficients


def test_the_term_of_a_gp_critic_is_among_the_losses_reported():
    gp = Coefficients(action_gradient=0.5)
    one = agent(coefficients=(Coefficients(), gp), seeds=(1, 2))
    minibatch = batch(2, 0)
    expected = one.action_gradient_penalty(minibatch).detach()
    one.update(minibatch, one.draw_noise(minibatch))
    reported = one.diagnostics[:, DIAGNOSTICS.index("weighted_gp")]
    torch.testing.assert_close(reported, expected)
    assert reported[0] == 0 and reported[1] > 0
