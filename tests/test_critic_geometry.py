"""Critic geometry against closed forms, finite differences and its error messages."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paperlib.pave.critic_geometry import (
    IndefiniteHessianError,
    NoCurvatureError,
    action_gradient,
    action_hessian,
    implicit_policy_jacobian,
    mixed_hessian,
    policy_lipschitz_bound,
)

ROWS, STATE_DIM, ACTION_DIM = 5, 4, 3
GEOMETRY = [action_gradient, mixed_hessian, action_hessian]
few_examples = settings(max_examples=15, deadline=None)
sizes = st.integers(1, 4)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class QuadraticCritic:
    """Q = a'Ka/2 + a'Gs + s's + b'a: H_aa = K, H_sa = G."""

    def __init__(self, state_dim=STATE_DIM, action_dim=ACTION_DIM, dtype=torch.float64):
        factor = normal(action_dim, action_dim, seed=1, dtype=dtype)
        self.curvature = -(factor @ factor.mT) - torch.eye(action_dim, dtype=dtype)
        self.mixed = normal(action_dim, state_dim, seed=2, dtype=dtype)
        self.slope = normal(action_dim, seed=3, dtype=dtype)

    def gradient(self, states, actions):
        return actions @ self.curvature + states @ self.mixed.mT + self.slope

    def __call__(self, states, actions):
        half = actions @ self.curvature / 2 + states @ self.mixed.mT + self.slope
        return (actions * half).sum(1) + states.square().sum(1)


class MLPCritic(nn.Module):
    def __init__(self, state_dim, action_dim, hidden=6, activation=nn.SiLU, seed=0, dtype=torch.float64):
        super().__init__()
        layers = [nn.Linear(state_dim + action_dim, hidden), activation(), nn.Linear(hidden, hidden), activation()]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1)).to(dtype)
        for i, parameter in enumerate(self.parameters()):
            parameter.data = normal(*parameter.shape, seed=100 * seed + i, dtype=dtype) * 0.7

    def forward(self, states, actions):
        return self.layers(torch.cat([states, actions], dim=1))


def central_difference(function, point, step=1e-5):
    """(B, ..., d) derivative of rowwise function (B, ...) by point (B, d)."""
    columns = []
    for direction in torch.eye(point.shape[1], dtype=point.dtype):
        columns.append((function(point + step * direction) - function(point - step * direction)) / (2 * step))
    return torch.stack(columns, dim=-1)


@pytest.fixture
def batch():
    return normal(ROWS, STATE_DIM, seed=10), normal(ROWS, ACTION_DIM, seed=11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_quadratic_critic_has_its_own_matrices_as_derivatives(dtype):
    critic = QuadraticCritic(dtype=dtype)
    states, actions = normal(ROWS, STATE_DIM, dtype=dtype), normal(ROWS, ACTION_DIM, seed=1, dtype=dtype)
    for actual, expected in (
        (action_gradient(critic, states, actions), critic.gradient(states, actions)),
        (mixed_hessian(critic, states, actions), critic.mixed.expand(ROWS, -1, -1)),
        (action_hessian(critic, states, actions), critic.curvature.expand(ROWS, -1, -1)),
    ):
        assert actual.dtype == dtype and not actual.requires_grad
        torch.testing.assert_close(actual, expected)


@few_examples
@given(rows=sizes, state_dim=sizes, action_dim=sizes, seed=st.integers(0, 1000))
def test_derivatives_of_an_mlp_equal_finite_differences(rows, state_dim, action_dim, seed):
    critic = MLPCritic(state_dim, action_dim, seed=seed)
    states, actions = normal(rows, state_dim, seed=seed), normal(rows, action_dim, seed=seed + 1)
    with torch.no_grad():
        gradient = central_difference(lambda a: critic(states, a).squeeze(1), actions)
    mixed = central_difference(lambda s: action_gradient(critic, s, actions), states)
    hessian = central_difference(lambda a: action_gradient(critic, states, a), actions)
    close = {"rtol": 1e-6, "atol": 1e-7}
    torch.testing.assert_close(action_gradient(critic, states, actions), gradient, **close)
    torch.testing.assert_close(mixed_hessian(critic, states, actions), mixed, **close)
    torch.testing.assert_close(action_hessian(critic, states, actions), hessian, **close)


def test_the_action_hessian_is_exactly_symmetric(batch):
    states, actions = (x.float() for x in batch)
    hessian = action_hessian(MLPCritic(STATE_DIM, ACTION_DIM, dtype=torch.float32), states, actions)
    assert torch.equal(hessian, hessian.mT)


@pytest.mark.parametrize("function", GEOMETRY)
def test_a_row_does_not_depend_on_the_other_rows(function, batch):
    states, actions = batch
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    together = function(critic, states, actions)
    alone = torch.cat([function(critic, states[i : i + 1], actions[i : i + 1]) for i in range(ROWS)])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("function", GEOMETRY)
@pytest.mark.parametrize(
    "combine",
    [
        lambda q1, q2: (q1, q2),
        lambda q1, q2: [q1.squeeze(1), q2],
        lambda q1, q2: torch.stack([q1, q2]),
        lambda q1, q2: torch.stack([q1, q2]).squeeze(-1),
    ],
    ids=["tuple", "list", "n_B_1", "n_B"],
)
def test_several_critics_give_a_leading_axis_in_every_output_form(function, combine, batch):
    first, second = (MLPCritic(STATE_DIM, ACTION_DIM, seed=seed) for seed in (1, 2))
    both = function(lambda s, a: combine(first(s, a), second(s, a)), *batch)
    torch.testing.assert_close(both, torch.stack([function(first, *batch), function(second, *batch)]))


def test_a_batch_of_one_with_value_shape_one_by_one_is_one_critic():
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    assert action_gradient(critic, normal(1, STATE_DIM), normal(1, ACTION_DIM)).shape == (1, ACTION_DIM)


def test_actions_computed_from_the_states_do_not_leak_into_the_state_derivative(batch):
    critic = QuadraticCritic()
    states = batch[0].requires_grad_()
    actions = states @ normal(STATE_DIM, ACTION_DIM, seed=5)
    mixed = mixed_hessian(critic, states, actions, create_graph=True)
    torch.testing.assert_close(mixed, critic.mixed.expand(ROWS, -1, -1))


@pytest.mark.parametrize("function", GEOMETRY)
def test_create_graph_makes_the_result_differentiable_by_parameters_and_inputs(function, batch):
    states, actions = (x.requires_grad_() for x in batch)
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    weight = critic.layers[0].weight
    result = function(critic, states, actions, create_graph=True).square().sum()
    slopes = torch.autograd.grad(result, [weight, states, actions])
    step = 1e-6
    direction = normal(*weight.shape, seed=9)
    ends = []
    for sign in (1, -1):
        weight.data += sign * step * direction
        ends.append(function(critic, states, actions).square().sum())
        weight.data -= sign * step * direction
    torch.testing.assert_close((slopes[0] * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-8)
    by_action = central_difference(
        lambda a: function(critic, states.detach(), a).square().flatten(1).sum(1), actions.detach()
    )
    torch.testing.assert_close(slopes[2], by_action, rtol=1e-6, atol=1e-8)
    assert slopes[1].any()


@pytest.mark.parametrize("function", GEOMETRY)
def test_no_grad_callers_and_frozen_critics_get_the_same_derivatives(function, batch):
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    expected = function(critic, *batch)
    critic.requires_grad_(False)
    with torch.no_grad():
        torch.testing.assert_close(function(critic, *batch), expected)


def test_inputs_and_parameters_keep_their_gradient_state(batch):
    states, actions = batch
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    action_hessian(critic, states, actions)
    assert not states.requires_grad and not actions.requires_grad
    assert all(parameter.grad is None for parameter in critic.parameters())


def test_a_critic_with_in_place_writes_is_differentiated(batch):
    def critic(states, actions):
        values = torch.zeros(len(states), dtype=states.dtype)
        values[:] = -actions.pow(2).sum(1) + (states[:, 0] * actions[:, 0])
        return values

    hessian = action_hessian(critic, *batch)
    torch.testing.assert_close(hessian, -2 * torch.eye(ACTION_DIM, dtype=torch.float64).expand(ROWS, -1, -1))


def test_a_critic_separable_in_state_and_action_has_zero_mixed_hessian(batch):
    mixed = mixed_hessian(lambda s, a: s.square().sum(1) - a.square().sum(1), *batch)
    assert mixed.shape == (ROWS, ACTION_DIM, STATE_DIM) and not mixed.any()


@few_examples
@given(state_dim=sizes, action_dim=sizes)
def test_the_policy_jacobian_of_a_quadratic_critic_is_its_linear_policy(state_dim, action_dim):
    critic = QuadraticCritic(state_dim, action_dim)

    def greedy(states):
        return -torch.linalg.solve(critic.curvature, (states @ critic.mixed.mT + critic.slope).mT).mT

    states = normal(ROWS, state_dim)
    derivatives = [f(critic, states, greedy(states)) for f in (mixed_hessian, action_hessian)]
    jacobian = implicit_policy_jacobian(*derivatives)
    torch.testing.assert_close(jacobian, central_difference(greedy, states), rtol=1e-7, atol=1e-9)


def test_the_policy_jacobian_of_a_non_quadratic_critic_is_the_maximiser_slope():
    # Q = -exp(a - sin s) + (a - sin s): strict maximum at a* = sin s, so da*/ds = cos s.
    def critic(states, actions):
        gap = actions - states.sin()
        return (gap - gap.exp()).sum(1)

    states = normal(ROWS, 1)
    jacobian = implicit_policy_jacobian(*(f(critic, states, states.sin()) for f in (mixed_hessian, action_hessian)))
    torch.testing.assert_close(jacobian[:, :, 0], states.cos())


@few_examples
@given(rows=sizes, state_dim=sizes, action_dim=sizes, seed=st.integers(0, 1000))
def test_the_bound_is_never_below_the_pointwise_bound_nor_that_below_the_jacobian(rows, state_dim, action_dim, seed):
    factor = normal(rows, action_dim, action_dim, seed=seed)
    action = -(factor @ factor.mT) - 0.1 * torch.eye(action_dim, dtype=torch.float64)
    mixed = normal(rows, action_dim, state_dim, seed=seed + 1)
    bound = policy_lipschitz_bound(mixed, action)
    steepest = torch.linalg.matrix_norm(implicit_policy_jacobian(mixed, action), ord=2).max()
    assert steepest <= bound.pointwise_bound * (1 + 1e-9)
    assert bound.pointwise_bound <= bound.bound * (1 + 1e-9)


def test_the_bound_takes_its_two_suprema_at_different_points():
    mixed = torch.tensor([[[3.0, 4.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.5]]])
    action = torch.stack([torch.diag(torch.tensor([-10.0, -4.0])), torch.diag(torch.tensor([-0.5, -8.0]))])
    bound = policy_lipschitz_bound(mixed, action)
    assert [round(float(x), 5) for x in bound] == [5.0, 0.5, 10.0, 2.0]


def test_the_bound_keeps_the_critic_axis_and_carries_gradients():
    action = -torch.eye(2).expand(2, 3, 2, 2) * torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)
    mixed = torch.ones(2, 3, 2, 1, requires_grad=True)
    bound = policy_lipschitz_bound(mixed, action)
    torch.testing.assert_close(bound.mu, torch.tensor([1.0, 2.0]))
    bound.bound.sum().backward()
    assert mixed.grad.any()


@pytest.mark.parametrize("function", [implicit_policy_jacobian, policy_lipschitz_bound])
def test_a_hessian_that_is_not_negative_definite_is_named_with_index_and_eigenvalue(function):
    action = -torch.eye(2).repeat(4, 1, 1)
    action[2] = torch.diag(torch.tensor([1.0, -3.0]))
    with pytest.raises(IndefiniteHessianError, match=r"batch index \(2,\).*eigenvalue is 1 \(1 of 4") as error:
        function(torch.ones(4, 2, 3), action)
    assert error.value.index == (2,) and error.value.eigenvalue == pytest.approx(1.0)


@pytest.mark.parametrize("function", [implicit_policy_jacobian, policy_lipschitz_bound])
def test_a_hessian_singular_to_working_precision_is_refused(function):
    action = -torch.ones(1, 2, 2)  # eigenvalues -2 and 0
    with pytest.raises(IndefiniteHessianError):
        function(torch.ones(1, 2, 3), action)


def test_a_tiny_curvature_in_one_action_dimension_is_not_singular():
    jacobian = implicit_policy_jacobian(torch.ones(1, 1, 1), torch.full((1, 1, 1), -1e-20))
    assert jacobian.item() == pytest.approx(1e20)


@pytest.mark.parametrize(
    ("mixed", "action", "message"),
    [
        (torch.ones(2, 3, 4), -torch.eye(4).repeat(2, 1, 1), r"mixed must have shape.*\(2, 3, 4\) and \(2, 4, 4\)"),
        (torch.ones(0, 3, 4), torch.ones(0, 3, 3), r"mixed must be a batch of matrices.*\(0, 3, 4\)"),
        (torch.ones(3), -torch.eye(3), r"mixed must be a batch of matrices"),
        (torch.full((1, 1, 1), torch.nan), -torch.ones(1, 1, 1), r"mixed is not finite at batch index \(0,\)"),
        (torch.ones(1, 1, 1), torch.full((1, 1, 1), -torch.inf), r"action is not finite at batch index \(0,\)"),
        (torch.ones(1, 2, 1), torch.tensor([[[-1.0, 0.5], [0.0, -1.0]]]), r"batch index \(0,\) is not symmetric"),
    ],
    ids=["sizes", "empty", "vector", "nan", "inf", "asymmetric"],
)
@pytest.mark.parametrize("function", [implicit_policy_jacobian, policy_lipschitz_bound])
def test_malformed_hessians_are_refused(function, mixed, action, message):
    with pytest.raises(ValueError, match=message):
        function(mixed, action)


def test_hessians_of_two_dtypes_and_unbatched_bounds_are_refused():
    with pytest.raises(TypeError, match="mixed is torch.float32.*action is torch.float64"):
        implicit_policy_jacobian(torch.ones(1, 1, 1), -torch.ones(1, 1, 1).double())
    with pytest.raises(TypeError, match="action must have a floating dtype"):
        implicit_policy_jacobian(torch.ones(1, 1), torch.ones(1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"mixed must have shape \(\.\.\., B, d_a, d_s\), got \(1, 1\)"):
        policy_lipschitz_bound(torch.ones(1, 1), -torch.ones(1, 1))


@pytest.mark.parametrize(
    "critic",
    [MLPCritic(STATE_DIM, ACTION_DIM, activation=nn.ReLU), lambda s, a: a.sum(1), lambda s, a: (a * s[:, :3]).sum(1)],
    ids=["relu", "linear", "bilinear"],
)
def test_a_critic_without_curvature_is_refused_by_the_action_hessian(critic, batch):
    with pytest.raises(NoCurvatureError, match="critic has no second derivative.*ReLU.*SiLU"):
        action_hessian(critic, *batch)


def test_the_critic_without_curvature_is_named_among_several(batch):
    def critic(states, actions):
        return -actions.square().sum(1), actions.sum(1)

    with pytest.raises(NoCurvatureError, match="critic 1 has no second derivative"):
        action_hessian(critic, *batch)


def test_a_critic_whose_output_layer_is_still_zero_is_flat_not_refused(batch):
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    nn.init.zeros_(critic.layers[-1].weight)
    assert not action_hessian(critic, *batch).any()


@pytest.mark.parametrize("function", GEOMETRY)
@pytest.mark.parametrize(
    "critic",
    [lambda s, a: s.sum(1), lambda s, a: torch.ones(len(s)), lambda s, a: a.detach()[:, 0]],
    ids=["states_only", "constant", "detached"],
)
def test_a_critic_that_ignores_its_actions_is_refused(function, critic, batch):
    with pytest.raises(ValueError, match="critic does not depend on the actions through autograd"):
        function(critic, *batch)


@pytest.mark.parametrize(
    ("critic", "error", "message"),
    [
        (lambda s, a: a, ValueError, r"critic returned shape \(5, 3\) for a batch of 5; expected \(5,\)"),
        (lambda s, a: a.sum(), ValueError, r"critic returned shape \(\) for a batch of 5"),
        (lambda s, a: (a[:, 0], a), ValueError, r"critic 1 returned shape \(5, 3\)"),
        (lambda s, a: (), ValueError, "empty sequence"),
        (lambda s, a: [a[:, 0], None], TypeError, "critic 1 must return a tensor, got NoneType"),
        (lambda s, a: None, TypeError, "critic must return a tensor or a tuple or list of tensors, got NoneType"),
        (lambda s, a: a[:, 0] / (s[:, 0] != s[3, 0]), ValueError, "critic returned -?inf at row 3"),
    ],
    ids=["columns", "scalar", "tuple", "nothing", "none_in_list", "none", "infinite"],
)
def test_a_malformed_critic_output_is_refused(critic, error, message, batch):
    with pytest.raises(error, match=message):
        action_gradient(critic, *batch)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s, a: (s.numpy(), a), TypeError, "states must be a torch tensor, got ndarray"),
        (lambda s, a: (s, a.long()), TypeError, "actions must have a floating dtype, got torch.int64"),
        (lambda s, a: (s, a.float()), TypeError, "actions is torch.float32 but states is torch.float64"),
        (lambda s, a: (s, a.to("meta")), ValueError, "actions is on meta but states is on cpu"),
        (lambda s, a: (s[0], a), ValueError, r"states must have shape \(B, d\).*got \(4,\)"),
        (lambda s, a: (s[:0], a[:0]), ValueError, r"states must have shape \(B, d\) with B >= 1.*got \(0, 4\)"),
        (lambda s, a: (s, a[:, :0]), ValueError, r"actions must have shape.*got \(5, 0\)"),
        (lambda s, a: (s, a[:2]), ValueError, r"actions has 2 rows but states has 5: shapes \(2, 3\) and \(5, 4\)"),
        (lambda s, a: (s, a.index_fill(0, torch.tensor([2, 4]), torch.nan)), ValueError, "actions.*bad row is 2"),
    ],
    ids=["numpy", "integer", "dtype", "device", "vector", "empty", "no_actions", "rows", "nan"],
)
@pytest.mark.parametrize("function", GEOMETRY)
def test_malformed_inputs_are_refused_by_name(function, change, error, message, batch):
    with pytest.raises(error, match=message):
        function(QuadraticCritic(), *change(*batch))


def network(*, activation=nn.SiLU, layers=(), inputs=STATE_DIM + ACTION_DIM):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 6), activation(), *layers, nn.Linear(6, 1)).double()


@pytest.mark.parametrize("function", GEOMETRY)
def test_a_sequential_network_is_a_critic_as_it_stands_alone_or_as_twins(function, batch):
    one, two = network(), network(activation=nn.Softplus)
    by_hand = [function(lambda s, a, n=n: n(torch.cat([s, a], 1)), *batch) for n in (one, two)]
    torch.testing.assert_close(function(one, *batch), by_hand[0], rtol=0, atol=0)
    torch.testing.assert_close(function((one, two), *batch), torch.stack(by_hand), rtol=0, atol=0)
    torch.testing.assert_close(function([one], *batch), by_hand[0][None], rtol=0, atol=0)


def test_a_critic_in_another_precision_or_of_other_widths_is_named(batch):
    with pytest.raises(TypeError, match="network 0 is torch.float32 but states is torch.float64"):
        action_gradient(network().float(), *batch)
    with pytest.raises(TypeError, match="the critic does not take torch.float64: convert it or the inputs"):
        action_gradient(MLPCritic(STATE_DIM, ACTION_DIM, dtype=torch.float32), *batch)
    with pytest.raises(ValueError, match="network 1 reads 9 numbers, but states have 4 and actions 3"):
        action_gradient((network(), network(inputs=9)), *batch)
    with pytest.raises(TypeError, match="critic must be callable.* is Tensor"):
        action_gradient(batch[0], *batch)


def test_another_error_of_the_critics_own_passes_as_it_is(batch):
    def failing(states, actions):
        raise RuntimeError("my own")

    with pytest.raises(RuntimeError, match="^my own$"):
        action_gradient(failing, *batch)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), nn.BatchNorm1d(6)])
def test_a_critic_with_dropout_or_batch_statistics_is_refused_while_it_trains(layer, batch):
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    critic.layers.insert(1, layer.double())
    for one in (critic, network(layers=[layer.double()]), (network(layers=[layer.double()]),)):
        with pytest.raises(ValueError, match=f"layer (layers.1|2) is {type(layer).__name__}.* eval"):
            action_hessian(one, *batch)
    assert action_hessian(critic.eval(), *batch).isfinite().all()


def test_a_square_output_for_two_states_is_two_critics_as_documented():
    states, actions = normal(2, STATE_DIM), normal(2, ACTION_DIM)
    one, two = MLPCritic(STATE_DIM, ACTION_DIM, seed=1), MLPCritic(STATE_DIM, ACTION_DIM, seed=2)
    in_rows = action_gradient(lambda s, a: torch.stack([one(s, a), two(s, a)]).squeeze(2), states, actions)
    assert in_rows.shape == (2, 2, ACTION_DIM)
    with pytest.raises(ValueError, match=r"critic returned shape \(3, 2\)"):
        action_gradient(
            lambda s, a: torch.cat([one(s, a), two(s, a)], dim=1), normal(3, STATE_DIM), normal(3, ACTION_DIM)
        )


@pytest.mark.parametrize("function", [implicit_policy_jacobian, policy_lipschitz_bound])
@pytest.mark.parametrize("twins", [False, True])
def test_jacobian_and_bound_take_a_critic_with_states_and_actions(function, twins, batch):
    one = QuadraticCritic()
    critic = (lambda s, a: (one(s, a), 2 * one(s, a))) if twins else one
    hessians = mixed_hessian(critic, *batch), action_hessian(critic, *batch)
    torch.testing.assert_close(function(critic, *batch), function(*hessians), rtol=0, atol=0)


@pytest.mark.parametrize("function", [implicit_policy_jacobian, policy_lipschitz_bound])
def test_jacobian_and_bound_say_which_two_calls_there_are(function, batch):
    for arguments in ((QuadraticCritic(), batch[0]), (*batch, batch[0])):
        with pytest.raises(TypeError, match="two Hessians H_sa and H_aa"):
            function(*arguments)


def call(critic, states, actions):
    return critic(states, actions)


COMPILED = {
    "module": lambda critic: torch.compile(critic, backend="aot_eager"),
    "method": lambda critic: critic.compile(backend="aot_eager") or critic,
    "inside a function": lambda critic: functools.partial(call, torch.compile(critic, backend="aot_eager")),
}


@pytest.mark.parametrize("form", COMPILED)
def test_a_compiled_critic_has_the_derivatives_of_the_one_that_was_compiled(form, batch):
    torch.compiler.reset()
    critic = MLPCritic(STATE_DIM, ACTION_DIM)
    expected = action_hessian(critic, *batch)
    compiled = COMPILED[form](critic)
    compiled(*batch)  # compiles
    torch.testing.assert_close(action_hessian(compiled, *batch), expected, rtol=0, atol=0)


def test_compiling_the_derivative_itself_is_told_apart_from_a_critic_without_curvature(batch):
    torch.compiler.reset()
    with pytest.raises(NoCurvatureError, match="torch.compile leaves none; call this outside"):
        torch.compile(action_hessian, backend="aot_eager")(MLPCritic(STATE_DIM, ACTION_DIM), *batch)
