"""The example critics are what they say: their closed forms agree with autograd."""

import pytest
import torch

from paperlib.pave import action_gradient, action_hessian, implicit_policy_jacobian, mixed_hessian
from paperlib.pave.example_critics import (
    ConcaveCritic,
    NetworkCritic,
    QuadraticCritic,
    random_network,
    trained_networks,
)
from paperlib.repro import paths

STATES = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def quadratic() -> QuadraticCritic:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(2, 2, generator=generator)
    coupling, offset = torch.randn(2, 3, generator=generator), torch.randn(2, generator=generator)
    return QuadraticCritic(root @ root.T + torch.eye(2), coupling, offset)


@pytest.mark.parametrize("critic", [quadratic(), ConcaveCritic(3, 2), ConcaveCritic(3, 2, quartic=0.0, seed=5)])
def test_the_known_maximiser_is_a_strict_maximum(critic):
    at = critic.maximiser(STATES).detach()
    torch.testing.assert_close(action_gradient(critic, STATES, at), torch.zeros_like(at), atol=1e-12, rtol=0)
    assert torch.linalg.eigvalsh(action_hessian(critic, STATES, at)).max() < 0


@pytest.mark.parametrize("critic", [quadratic(), ConcaveCritic(3, 2)])
def test_the_known_policy_jacobian_is_that_of_the_maximiser(critic):
    for row, state in enumerate(STATES):
        by_autograd = torch.autograd.functional.jacobian(lambda s: critic.maximiser(s[None])[0], state)
        torch.testing.assert_close(critic.policy_jacobian(STATES)[row], by_autograd)


@pytest.mark.parametrize("critic", [quadratic(), ConcaveCritic(3, 2)])
def test_the_known_policy_jacobian_agrees_with_lemma_1(critic):
    at = critic.maximiser(STATES).detach()
    implicit = implicit_policy_jacobian(mixed_hessian(critic, STATES, at), action_hessian(critic, STATES, at))
    torch.testing.assert_close(implicit, critic.policy_jacobian(STATES).detach())


def test_curvatures_are_the_action_hessian_at_the_maximiser():
    critic = ConcaveCritic(3, 2)
    hessian = action_hessian(critic, STATES, critic.maximiser(STATES).detach())
    torch.testing.assert_close(hessian, torch.diag_embed(-critic.curvatures(STATES)).detach())


@pytest.mark.parametrize(
    ("curvature", "coupling", "message"),
    [
        (torch.eye(3), torch.ones(2, 3), "sizes differ"),
        (-torch.eye(2), torch.ones(2, 3), "positive definite"),
        (torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.ones(2, 3), "symmetric"),
    ],
)
def test_a_quadratic_without_a_maximum_is_refused(curvature, coupling, message):
    with pytest.raises(ValueError, match=message):
        QuadraticCritic(curvature, coupling)


def test_a_critic_that_is_not_concave_is_refused():
    with pytest.raises(ValueError, match="not concave"):
        ConcaveCritic(3, 2, quartic=-1.0)


def test_a_random_network_depends_on_its_seed_only():
    torch.manual_seed(3)
    first = random_network(3, 2, seed=7)
    torch.manual_seed(4)
    second = random_network(3, 2, seed=7)
    actions = torch.zeros(6, 2, dtype=torch.float64)
    assert torch.equal(first(STATES, actions), second(STATES, actions))
    assert not torch.equal(first(STATES, actions), random_network(3, 2, seed=8)(STATES, actions))
    assert [layer.out_features for layer in first.layers[::2]] == [400, 300, 1]


def test_the_recorded_networks_cover_three_environments_and_both_methods():
    networks = trained_networks()
    assert set(networks) == {(e, m) for e in ("pendulum", "reacher", "hopper") for m in ("base", "pave")}
    for (environment, _), one in networks.items():
        assert one.description["environment"] == environment
        critic = NetworkCritic(one.critics[0])
        d_s = one.actor[0].in_features
        assert critic(torch.zeros(2, d_s).double(), torch.zeros(2, one.action_dim).double()).shape == (2,)


def test_missing_records_are_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "data_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="theory_critics"):
        trained_networks()
