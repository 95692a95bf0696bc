"""PAVE's losses against hand-computed values, finite differences and their error messages."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paperlib.pave.critic_geometry import NoCurvatureError, action_gradient, action_hessian
from paperlib.pave.losses import PaveLosses, UnlikelyInputWarning, pave_losses

few_examples = settings(max_examples=15, deadline=None)
sizes = st.integers(1, 4)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mlp_critic(state_dim, action_dim, activation=nn.SiLU, seed=0):
    layers = [nn.Linear(state_dim + action_dim, 6), activation(), nn.Linear(6, 6), activation(), nn.Linear(6, 1)]
    network = nn.Sequential(*layers).double()
    for i, parameter in enumerate(network.parameters()):
        parameter.data = normal(*parameter.shape, seed=100 * seed + i) * 0.7
    return network, lambda states, actions: network(torch.cat([states, actions], dim=1))


def random_batch(rows=5, state_dim=4, action_dim=3, seed=0):
    return {
        "states": normal(rows, state_dim, seed=seed),
        "actions": normal(rows, action_dim, seed=seed + 1).tanh(),
        "next_states": normal(rows, state_dim, seed=seed + 2),
        "state_noise": 0.1 * normal(rows, state_dim, seed=seed + 3),
        "probes": normal(rows, action_dim, seed=seed + 4).sign(),
        "delta": 1.0,
    }


def diagonal_critic(*curvature):
    diagonal = torch.tensor(curvature, dtype=torch.float64)
    return lambda states, actions: (actions.square() * diagonal).sum(1) / 2


@pytest.mark.filterwarnings("ignore:probes")
def test_a_bilinear_quadratic_critic_gives_the_losses_computed_by_hand():
    # Q = a'Gs - a1^2 + 0.25 a2^2 with G = [[1, 2], [0, 3]]: grad differences are G ds, and H = diag(-2, 0.5).
    mixed = torch.tensor([[1.0, 2.0], [0.0, 3.0]])

    def critic(states, actions):
        return (actions * (states @ mixed.T)).sum(1) - actions[:, 0] ** 2 + 0.25 * actions[:, 1] ** 2

    states = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    losses = pave_losses(
        critic,
        states,
        torch.tensor([[0.3, -0.2], [0.9, 0.4]]),
        states + torch.tensor([[2.0, 0.0], [0.0, 1.0]]),  # G ds = (2, 0) and (2, 3)
        state_noise=torch.tensor([[0.0, 1.0], [1.0, -1.0]]),  # G eps = (2, 3) and (-1, -3)
        probes=torch.tensor([[1.0, 1.0], [0.5, 2.0]]),  # v'Hv = -1.5 and 1.5
        delta=2.0,
    )
    assert isinstance(losses, PaveLosses)
    assert losses.mpr.item() == pytest.approx((4 + 9 + 1 + 9) / 4)
    assert losses.vfc.item() == pytest.approx((4 + 0 + 4 + 9) / 4)
    assert losses.curv.item() == pytest.approx((0.5 + 3.5) / 2)
    assert all(loss.shape == () and loss.dtype == torch.float32 for loss in losses)


@pytest.mark.filterwarnings("ignore:probes")
def test_the_hinge_is_applied_to_each_row_before_the_mean():
    batch = random_batch(rows=2, action_dim=1) | {"probes": torch.tensor([[1.0], [3.0]], dtype=torch.float64)}
    losses = pave_losses(lambda s, a: -a.square().sum(1), **batch | {"delta": 3.0})
    assert losses.curv.item() == pytest.approx((1.0 + 0.0) / 2)  # -2 + 3 and max(0, -18 + 3)


@pytest.mark.filterwarnings("ignore:probes")
def test_zero_curvature_loss_does_not_imply_a_concave_critic():
    batch = random_batch(action_dim=2)
    critic = diagonal_critic(1.0, -3.0)
    assert action_hessian(critic, batch["states"], batch["actions"])[0, 0, 0] > 0
    for signs in ([1, 1], [1, -1], [-1, 1], [-1, -1]):
        probes = torch.tensor(signs, dtype=torch.float64).repeat(5, 1)
        assert pave_losses(critic, **batch | {"probes": probes, "delta": 2.0}).curv.item() == 0
    along_the_ridge = torch.tensor([[1.0, 0.0]], dtype=torch.float64).repeat(5, 1)
    assert pave_losses(critic, **batch | {"probes": along_the_ridge, "delta": 2.0}).curv.item() == pytest.approx(3.0)


@few_examples
@given(rows=sizes, state_dim=sizes, action_dim=sizes, seed=st.integers(0, 1000))
def test_the_losses_of_an_mlp_follow_from_its_gradients_and_hessian(rows, state_dim, action_dim, seed):
    _, critic = mlp_critic(state_dim, action_dim, seed=seed)
    batch = random_batch(rows, state_dim, action_dim, seed)
    states, actions, probes = batch["states"], batch["actions"], batch["probes"]
    here = action_gradient(critic, states, actions)
    nearby = action_gradient(critic, states + batch["state_noise"], actions)
    later = action_gradient(critic, batch["next_states"], actions)
    projected = torch.einsum("bi,bij,bj->b", probes, action_hessian(critic, states, actions), probes)
    losses = pave_losses(critic, **batch)
    close = {"rtol": 1e-10, "atol": 1e-14}
    torch.testing.assert_close(losses.mpr, (nearby - here).norm(dim=1).square().mean() / action_dim, **close)
    torch.testing.assert_close(losses.vfc, (later - here).norm(dim=1).square().mean() / action_dim, **close)
    torch.testing.assert_close(losses.curv, (projected + 1).relu().mean(), **close)


@pytest.mark.parametrize("term", PaveLosses._fields)
def test_parameter_gradients_equal_finite_differences(term):
    network, critic = mlp_critic(4, 3, seed=3)
    batch = random_batch(seed=7) | {"delta": 5.0}
    parameters = [p for p in network.parameters() if p is not network[-1].bias]  # a constant in Q has no effect
    slopes = torch.autograd.grad(getattr(pave_losses(critic, **batch), term), parameters)
    step = 1e-6
    for i, (parameter, slope) in enumerate(zip(parameters, slopes, strict=True)):
        direction = normal(*parameter.shape, seed=50 + i)
        ends = []
        for sign in (1, -1):
            parameter.data += sign * step * direction
            ends.append(getattr(pave_losses(critic, **batch), term).detach())
            parameter.data -= sign * step * direction
        numerical = (ends[0] - ends[1]) / (2 * step)
        assert numerical != 0
        torch.testing.assert_close((slope * direction).sum(), numerical, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("combine", [lambda *q: q, lambda *q: list(q), lambda *q: torch.stack(q)])
def test_several_critics_give_one_loss_each_apart_from_the_others(combine):
    critics = [mlp_critic(4, 3, seed=seed)[1] for seed in (1, 2)]
    batch = random_batch()
    both = pave_losses(lambda s, a: combine(*(critic(s, a) for critic in critics)), **batch)
    for i, critic in enumerate(critics):
        for several, one in zip(both, pave_losses(critic, **batch), strict=True):
            assert several.shape == (2,)
            torch.testing.assert_close(several[i], one)


def test_without_grad_mode_the_losses_are_equal_and_carry_no_graph():
    _, critic = mlp_critic(4, 3)
    batch = random_batch()
    expected = pave_losses(critic, **batch)
    with torch.no_grad():
        losses = pave_losses(critic, **batch)
    torch.testing.assert_close(tuple(losses), tuple(expected))
    assert expected.curv.requires_grad and not any(loss.requires_grad for loss in losses)


def test_the_losses_leave_no_gradients_behind_and_the_inputs_alone():
    network, critic = mlp_critic(4, 3)
    batch = random_batch()
    copies = {name: torch.clone(torch.as_tensor(value)) for name, value in batch.items()}
    pave_losses(critic, **batch)
    assert all(p.grad is None for p in network.parameters())
    assert all(torch.equal(torch.as_tensor(batch[name]), copy) for name, copy in copies.items())
    assert not batch["actions"].requires_grad


def test_a_linear_output_layer_at_zero_gives_delta_as_curvature_loss():
    network, critic = mlp_critic(4, 3)
    nn.init.zeros_(network[-1].weight)
    losses = pave_losses(critic, **random_batch())
    assert [loss.item() for loss in losses] == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("delta", [2, np.float32(2.0)])
def test_any_real_number_serves_as_delta(delta):
    assert pave_losses(diagonal_critic(-1.0), **random_batch(action_dim=1) | {"delta": delta}).curv.item() == 1.0


@pytest.mark.parametrize("critic", [mlp_critic(4, 3, nn.ReLU)[1], lambda s, a: a.sum(1)], ids=["relu", "linear"])
def test_a_critic_without_second_derivative_is_refused(critic):
    with pytest.raises(NoCurvatureError, match="critic has no second derivative.*ReLU.*SiLU"):
        pave_losses(critic, **random_batch())


def test_a_critic_that_ignores_its_actions_is_refused():
    with pytest.raises(ValueError, match="critic does not depend on the actions through autograd"):
        pave_losses(lambda s, a: s.sum(1), **random_batch())


def test_inference_mode_is_refused_with_a_reason():
    _, critic = mlp_critic(4, 3)
    batch = random_batch()
    with torch.inference_mode(), pytest.raises(ValueError, match="torch.inference_mode"):
        pave_losses(critic, **batch)


def test_a_critic_output_of_wrong_shape_or_value_is_refused():
    with pytest.raises(ValueError, match=r"critic returned shape \(5, 3\) for a batch of 5"):
        pave_losses(lambda s, a: a, **random_batch())
    with pytest.raises(ValueError, match="critic returned nan at row 0"):
        pave_losses(lambda s, a: a.sum(1) * torch.nan, **random_batch())


def with_nan(value, row):
    return value.index_fill(0, torch.tensor([row]), torch.nan)


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("states", lambda x: with_nan(x, 1), ValueError, "states is not finite; first bad row is 1"),
        ("next_states", lambda x: with_nan(x, 3), ValueError, "next_states is not finite; first bad row is 3"),
        ("state_noise", lambda x: x / 0, ValueError, "state_noise is not finite; first bad row is 0"),
        ("probes", lambda x: with_nan(x, 4), ValueError, "probes is not finite; first bad row is 4"),
        ("next_states", lambda x: x[:, :2], ValueError, r"next_states must have the shape of states: got \(5, 2\) and"),
        ("state_noise", lambda x: x[:, :1], ValueError, r"state_noise must have the shape of states"),
        ("probes", lambda x: x[:, :1], ValueError, r"probes must have the shape of actions: got \(5, 1\) and \(5, 3\)"),
        ("state_noise", lambda x: x[:1], ValueError, "state_noise has 1 rows but states has 5"),
        ("actions", lambda x: x[0], ValueError, r"actions must have shape \(B, d\)"),
        ("probes", lambda x: x.float(), TypeError, "probes is torch.float32 but states is torch.float64"),
        ("probes", lambda x: x.long(), TypeError, "probes must have a floating dtype"),
        ("state_noise", lambda x: 0.01, TypeError, "state_noise must be a torch tensor, got float"),
        ("next_states", lambda x: x.to("meta"), ValueError, "next_states is on meta but states is on cpu"),
        ("probes", lambda x: x.index_fill(0, torch.tensor([2]), 0.0), ValueError, "probes has a zero vector at row 2"),
        ("delta", lambda x: 0.0, ValueError, "delta must be a finite number above 0, got 0.0"),
        ("delta", lambda x: -1, ValueError, "delta must be a finite number above 0, got -1"),
        ("delta", lambda x: float("nan"), ValueError, "delta must be a finite number above 0, got nan"),
        ("delta", lambda x: float("inf"), ValueError, "delta must be a finite number above 0, got inf"),
        ("delta", lambda x: "1", ValueError, "delta must be a finite number above 0, got '1'"),
        ("delta", lambda x: True, ValueError, "delta must be a finite number above 0, got True"),
    ],
)
def test_malformed_arguments_are_refused_by_name(name, change, error, message):
    _, critic = mlp_critic(4, 3)
    batch = random_batch()
    with pytest.raises(error, match=message):
        pave_losses(critic, **batch | {name: change(batch[name])})


def test_an_empty_batch_is_refused():
    batch = {name: value[:0] if isinstance(value, torch.Tensor) else value for name, value in random_batch().items()}
    with pytest.raises(ValueError, match=r"states must have shape \(B, d\) with B >= 1 and d >= 1, got \(0, 4\)"):
        pave_losses(mlp_critic(4, 3)[1], **batch)


def ordinary_batch(**changes):
    """Twenty rows of what the losses expect."""
    return random_batch(rows=20) | {"state_noise": 0.01 * normal(20, 4, seed=8)} | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": 2 * normal(20, 3, seed=1).sign()}, "actions lie beyond"),  # a critic of Pendulum's torques
        ({"state_noise": normal(20, 4, seed=8)}, "is it scaled by sigma"),
        ({"probes": 100 * normal(20, 3, seed=4)}, "probes are not of squared length 3"),
    ],
    ids=["actions", "sigma", "probes"],
)
def test_what_is_rarely_meant_is_warned_of_once_and_where_it_was_called(changes, message):
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("default")
        for shift in range(3):
            pave_losses(mlp_critic(4, 3)[1], **ordinary_batch(**changes) | {"delta": 1.0 + shift})
    assert [one.category for one in raised] == [UnlikelyInputWarning] and message in str(raised[0].message)
    assert raised[0].filename == __file__


def test_what_is_meant_is_not_warned_of():
    spheric = normal(20, 3, seed=4)
    spheric *= 3**0.5 / spheric.norm(dim=1, keepdim=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in (ordinary_batch(), ordinary_batch(probes=spheric), random_batch(rows=1)):
            pave_losses(mlp_critic(4, 3)[1], **batch)


def test_states_and_actions_in_the_wrong_order_are_seen_by_the_actions_range():
    batch = ordinary_batch(actions=normal(20, 4, seed=1).tanh(), probes=normal(20, 4, seed=4).sign())
    swapped = batch | {"states": batch["actions"], "next_states": batch["actions"], "actions": 3 * batch["states"]}
    with pytest.warns(UnlikelyInputWarning, match="actions lie beyond"):
        pave_losses(mlp_critic(4, 4)[1], **swapped)


def test_the_terms_after_the_next_states_are_given_by_name():
    with pytest.raises(TypeError, match="pave_losses\\(\\) takes 4 positional arguments"):
        pave_losses(mlp_critic(4, 3)[1], *random_batch().values())
    assert "given by name" in pave_losses.__doc__
