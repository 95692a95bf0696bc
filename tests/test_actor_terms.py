"""CAPS, GRAD and ASAP against numbers worked out by hand, and which way their gradients flow."""

import dataclasses
import math

import pytest
import torch

from paperlib.pave.engine import actor_terms
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.sac import SAC
from paperlib.pave.engine.settings import Coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.td3 import TD3


def actions(*rows, requires_grad=False):
    """Actions of one run, (1, B, d_a)."""
    return torch.tensor([rows], dtype=torch.float64, requires_grad=requires_grad)


@pytest.mark.parametrize("term", (actor_terms.caps_temporal, actor_terms.caps_spatial))
def test_caps_is_half_the_mean_square_over_batch_and_action_dimensions(term):
    value = term(actions([0.5, -0.5], [0.0, 1.0]), actions([0.1, -0.5], [0.3, 0.5]))
    assert value.tolist() == pytest.approx([0.5 * (0.16 + 0 + 0.09 + 0.25) / 4])


def test_caps_pulls_both_actions():
    here, after = actions([0.5], requires_grad=True), actions([0.2], requires_grad=True)
    actor_terms.caps_temporal(here, after).sum().backward()
    assert here.grad.item() == pytest.approx(0.3)
    assert after.grad.item() == pytest.approx(-0.3)


def grad_by_hand(previous, here, after):
    """GRAD's term of one action, from the formula."""
    weight = math.tanh((1 / (after - previous + 1e-4)) ** 2)
    return 0.5 * (2 * here - after - previous) ** 2 * weight


def test_grad_is_the_weighted_second_difference_worked_by_hand():
    previous, here, after = (-0.9, 0.0), (0.5, 0.2), (0.9, 0.0)
    value = actor_terms.grad_temporal(actions(previous), actions(here), actions(after), torch.ones(1, 1))
    # First action: 0.5 * 1.0^2 * tanh(1 / 1.8001^2); second: the actions coincide, so the weight is 1: 0.5 * 0.4^2.
    first = grad_by_hand(-0.9, 0.5, 0.9)
    assert first == pytest.approx(0.5 * math.tanh(1 / 1.8001**2))
    assert value.tolist() == pytest.approx([(first + 0.5 * 0.16) / 2])


def test_grad_has_a_finite_weight_where_its_offset_cancels_the_difference():
    value = actor_terms.grad_temporal(actions([0.0]), actions([0.3]), actions([-1e-4]), torch.ones(1, 1))
    assert value.item() == pytest.approx(0.5 * 0.6001**2)


def test_grad_skips_rows_without_a_previous_state_and_still_averages_over_the_batch():
    rows = actions([0.1], [0.2]), actions([0.5], [-0.4]), actions([0.3], [0.9])
    both = actor_terms.grad_temporal(*rows, torch.tensor([[1.0, 1.0]]))
    first = actor_terms.grad_temporal(*rows, torch.tensor([[1.0, 0.0]]))
    assert first.item() == pytest.approx(grad_by_hand(0.1, 0.5, 0.3) / 2)
    assert both.item() == pytest.approx(first.item() + grad_by_hand(0.2, -0.4, 0.9) / 2)


def test_grads_weight_is_a_constant_to_the_gradient():
    previous, here, after = (actions([x], requires_grad=True) for x in (-0.6, 0.4, 0.7))
    actor_terms.grad_temporal(previous, here, after, torch.ones(1, 1)).sum().backward()
    weight = math.tanh((1 / (0.7 + 0.6 + 1e-4)) ** 2)
    second_difference = 2 * 0.4 - 0.7 + 0.6
    assert here.grad.item() == pytest.approx(2 * second_difference * weight)
    assert after.grad.item() == pytest.approx(-second_difference * weight)
    assert previous.grad.item() == pytest.approx(-second_difference * weight)


def test_a_masked_row_has_no_gradient():
    rows = [actions([x], requires_grad=True) for x in (-0.6, 0.4, 0.7)]
    actor_terms.grad_temporal(*rows, torch.zeros(1, 1)).sum().backward()
    assert all(row.grad.item() == 0 for row in rows)


def test_asap_moves_the_policy_towards_the_target_and_the_predictor_towards_the_policy():
    after, guess = actions([0.5, 0.1], requires_grad=True), actions([0.2, 0.3], requires_grad=True)
    target = actions([0.1, 0.1], requires_grad=True)
    spatial = actor_terms.asap_spatial(after, target)
    assert spatial.tolist() == pytest.approx([0.5 * 0.16 / 2])
    spatial.sum().backward()
    assert after.grad.flatten().tolist() == pytest.approx([0.2, 0.0])
    assert target.grad is None

    after.grad = None
    predictor = actor_terms.asap_predictor(guess, after)
    assert predictor.tolist() == pytest.approx([0.5 * (0.09 + 0.04) / 2])
    predictor.sum().backward()
    assert guess.grad.flatten().tolist() == pytest.approx([-0.15, 0.1])
    assert after.grad is None


def test_terms_are_one_number_per_run():
    here, after = torch.zeros(3, 5, 2), torch.arange(3.0)[:, None, None].expand(3, 5, 2)
    assert actor_terms.caps_temporal(here, after).tolist() == [0.0, 0.5, 2.0]


EVERYTHING = Coefficients(
    caps_temporal=0.3, caps_spatial=0.7, caps_sigma=0.4, grad_temporal=0.9, asap_spatial=1.1, asap_predictor=2.0
)


def agent_and_batch(agent_class, algorithm):
    settings = dataclasses.replace(published_settings(algorithm, "walker"), hidden=(6, 5))
    streams = RandomStreams((4,), device=torch.device("cpu"), dtype=torch.float64)
    agent = agent_class(settings, (EVERYTHING,), 3, 2, streams)
    source = torch.Generator().manual_seed(9)
    states, next_states, previous = (torch.randn(1, 7, 3, generator=source, dtype=torch.float64) for _ in range(3))
    ones = torch.ones(1, 7, dtype=torch.float64)
    has_previous = torch.tensor([[1.0, 0, 1, 1, 0, 1, 1]], dtype=torch.float64)
    batch = Minibatch(states, states[..., :2].tanh(), ones, next_states, ones, previous, has_previous)
    return agent, batch


@pytest.mark.parametrize(("agent_class", "algorithm"), ((TD3, "td3"), (SAC, "sac")))
def test_the_agent_applies_every_term_to_the_deterministic_action(agent_class, algorithm):
    agent, batch = agent_and_batch(agent_class, algorithm)
    with torch.no_grad():  # a target predictor that differs from the actor
        for parameter in agent.predictor_target.parameters():
            parameter.mul_(0.5)
    noise = agent.draw_noise(batch)
    actor, target = agent.actor.unstack(0), agent.predictor_target.unstack(0)

    def policy(states):
        return torch.tanh(actor(states)[..., :2])

    here, after, before = policy(batch.states), policy(batch.next_states), policy(batch.previous_states)
    guess, goal = torch.tanh(actor(batch.states)[..., -2:]), torch.tanh(target(batch.states)[..., -2:])
    expected = (
        0.3 * 0.5 * (here - after).square().mean()
        + 0.7 * 0.5 * (here - policy(batch.states + 0.4 * noise.near)).square().mean()
        + 0.9 * actor_terms.grad_temporal(before, here, after, batch.has_previous)
        + 1.1 * 0.5 * (after - goal).square().mean()
        + 2.0 * 0.5 * (guess - after).square().mean()
    )
    actual = agent.actor_term(agent.actor(batch.states), batch, noise)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("agent_class", "algorithm"), ((TD3, "td3"), (SAC, "sac")))
def test_asaps_predictor_head_learns_from_its_own_term_only(agent_class, algorithm):
    agent, batch = agent_and_batch(agent_class, algorithm)
    agent.coefficients["asap_predictor"].zero_()
    loss, term = agent.actor_loss(batch, agent.draw_noise(batch))
    (loss + term).sum().backward()
    head = agent.actor.weights[-1].grad
    assert head[..., -2:].abs().max() == 0
    assert head[..., :2].abs().max() > 0


def test_asaps_target_predictor_follows_its_actor_after_every_update():
    agent, batch = agent_and_batch(TD3, "td3")
    for update in (1, 2):  # the first leaves TD3's delayed actor alone, the second moves it
        before = agent.predictor_target.weights[0].clone()
        agent.update(batch, agent.draw_noise(batch))
        expected = 0.99 * before + 0.01 * agent.actor.weights[0]
        torch.testing.assert_close(agent.predictor_target.weights[0], expected.detach(), rtol=0, atol=1e-14)
        assert torch.equal(agent.predictor_target.weights[0], before) == (update == 1)
