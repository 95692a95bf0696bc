"""The closed form of PAVE's losses against nested autograd, in float64, and its rounding in float32."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paperlib.notebooks.shared.transitions import replay_transitions
from paperlib.pave import closed_form
from paperlib.pave.closed_form import closed_form_pave, silu_derivatives, silu_networks, silu_second_derivative
from paperlib.pave.engine.networks import StackedMLP
from paperlib.pave.example_critics import trained_networks
from paperlib.pave.losses import PaveLosses, pave_losses

RELATIVE_TOLERANCE = 1e-12


def stacked_critics(state_dim, action_dim, hidden, runs, source):
    generators = [torch.Generator().manual_seed(run) for run in range(runs)]
    sizes = (state_dim + action_dim, *hidden, 1)
    critics = StackedMLP(sizes, generators, networks_per_run=2, dtype=torch.float64)
    with torch.no_grad():
        for parameter in critics.parameters():  # wider than the default start, so that every derivative is of order one
            parameter.normal_(generator=source)
    return critics


def random_batch(networks, rows, state_dim, action_dim, source):
    def normal(*shape):
        return torch.randn(networks, rows, *shape, generator=source, dtype=torch.float64)

    return {
        "states": normal(state_dim),
        "actions": normal(action_dim).tanh(),
        "next_states": normal(state_dim),
        "state_noise": normal(state_dim),
        "probes": normal(action_dim).sign(),
        "delta": torch.rand(networks, generator=source, dtype=torch.float64) + 0.1,
    }


def generic_losses(network, batch, index):
    """The losses of critic `index` by nested autograd."""
    one = {name: tensor[index] for name, tensor in batch.items()}
    one["delta"] = one["delta"].item()
    return pave_losses(lambda states, actions: network(torch.cat([states, actions], dim=1)).squeeze(1), **one)


def gradients(loss, parameters):
    return torch.autograd.grad(loss, list(parameters), retain_graph=True, allow_unused=True, materialize_grads=True)


def assert_equal_gradients(closed, generic):
    """Within RELATIVE_TOLERANCE of the largest entry over all layers of the network."""
    scale = max(gradient.abs().max() for gradient in generic)
    for ours, theirs in zip(closed, generic, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=max(RELATIVE_TOLERANCE * scale.item(), 1e-15))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    state_dim=st.integers(1, 5),
    action_dim=st.integers(1, 4),
    hidden=st.lists(st.integers(2, 7), min_size=1, max_size=3),
    runs=st.integers(1, 3),
    rows=st.integers(1, 6),
    seed=st.integers(0, 2**31 - 1),
)
def test_values_and_parameter_gradients_equal_nested_autograd(state_dim, action_dim, hidden, runs, rows, seed):
    source = torch.Generator().manual_seed(seed)
    critics = stacked_critics(state_dim, action_dim, hidden, runs, source)
    batch = random_batch(2 * runs, rows, state_dim, action_dim, source)
    _, closed = closed_form_pave(critics, **batch)
    closed_gradients = {name: gradients(getattr(closed, name).sum(), critics.parameters()) for name in closed._fields}
    layers = len(critics.weights)
    for index in range(2 * runs):
        network = critics.unstack(index)
        generic = generic_losses(network, batch, index)
        for name in PaveLosses._fields:
            ours, theirs = getattr(closed, name)[index].item(), getattr(generic, name).item()
            assert ours == pytest.approx(theirs, rel=RELATIVE_TOLERANCE, abs=1e-15)
            stacked = closed_gradients[name]
            weights = [gradient[index].mT for gradient in stacked[:layers]]
            biases = [gradient[index, 0] for gradient in stacked[layers:]]
            expected = gradients(getattr(generic, name), network.parameters())
            assert_equal_gradients(weights + biases, expected[0::2] + expected[1::2])


def test_the_returned_values_are_the_critics_own():
    source = torch.Generator().manual_seed(3)
    critics = stacked_critics(4, 2, (6, 5), 2, source)
    batch = random_batch(4, 7, 4, 2, source)
    values, _ = closed_form_pave(critics, **batch)
    inputs = torch.cat([batch["states"], batch["actions"]], dim=2)
    torch.testing.assert_close(values, critics(inputs).squeeze(2), rtol=1e-13, atol=1e-13)


def test_every_network_has_its_own_curvature_floor():
    source = torch.Generator().manual_seed(5)
    critics = stacked_critics(3, 2, (6, 6), 2, source)
    batch = random_batch(4, 8, 3, 2, source)
    floors = torch.tensor([0.0, 0.5, 20.0, 1e4], dtype=torch.float64)
    together = closed_form_pave(critics, **batch | {"delta": floors})[1].curv
    for index, floor in enumerate(floors):
        alone = closed_form_pave(critics, **batch | {"delta": floor.expand(4)})[1].curv
        assert together[index] == alone[index]
    unhinged = closed_form_pave(critics, **batch | {"delta": torch.full((4,), 1e5).double()})[1].curv - 1e5
    assert together[3].item() == pytest.approx(unhinged[3].item() + 1e4, rel=1e-12)  # hinge open in every row


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_networks_passed_through_in_parts_give_the_same_numbers(at_once):
    source = torch.Generator().manual_seed(9)
    critics = stacked_critics(3, 2, (6, 5), 2, source)
    batch = random_batch(4, 5, 3, 2, source)
    (values, whole), (values_in_parts, parts) = (
        closed_form_pave(critics, **batch, at_once=size) for size in (None, at_once)
    )
    torch.testing.assert_close(values_in_parts, values, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(torch.stack(parts), torch.stack(whole), rtol=1e-13, atol=1e-13)
    assert_equal_gradients(*(gradients(sum(x).sum(), critics.parameters()) for x in (parts, whole)))


def test_one_network_does_not_see_anothers_batch():
    source = torch.Generator().manual_seed(7)
    critics = stacked_critics(3, 2, (5,), 1, source)
    batch = random_batch(2, 4, 3, 2, source)
    changed = {name: tensor.clone() for name, tensor in batch.items()}
    for tensor in changed.values():
        tensor[1] += 1
    (_, first), (_, second) = closed_form_pave(critics, **batch), closed_form_pave(critics, **changed)
    for before, after in zip(first, second, strict=True):
        assert before[0] == after[0]
        assert before[1] != after[1]


def trained_critics(environment, method):
    """Both recorded critics as a stack in float64, and a minibatch of replayed transitions for them."""
    networks = trained_networks()[environment, method]
    widths = [layer.in_features for layer in networks.critics[0][::2]] + [1]
    critics = StackedMLP(widths, [torch.Generator()], networks_per_run=2, dtype=torch.float64)
    for index, critic in enumerate(networks.critics):
        critics.load(index, critic)
    replay, source = replay_transitions(networks, environment, 256), torch.Generator().manual_seed(0)
    noise, probes = (
        torch.randn(x.shape, generator=source, dtype=torch.float64) for x in (replay.states, replay.actions)
    )
    columns = (replay.states, replay.actions, replay.next_states, 0.01 * noise, probes.sign())
    names = ("states", "actions", "next_states", "state_noise", "probes")
    batch = {name: column.expand(2, *column.shape) for name, column in zip(names, columns, strict=True)}
    return critics, batch | {"delta": torch.ones(2, dtype=torch.float64)}


def first_gradient(losses, critics):
    """Gradient of the first critic's loss by its parameters, flat."""
    return torch.cat([gradient[0].flatten() for gradient in gradients(losses[0], critics.parameters())])


def relative_error(gradient, exact):
    return ((gradient.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("environment, method", [("pendulum", "pave"), ("hopper", "base"), ("reacher", "pave")])
def test_in_float32_the_gradient_of_mpr_is_twice_as_exact_as_by_subtraction(environment, method):
    critics, batch = trained_critics(environment, method)
    exact = first_gradient(closed_form_pave(critics, **batch)[1].mpr, critics)
    critics, batch = critics.float(), {name: tensor.float() for name, tensor in batch.items()}
    by_differences = first_gradient(closed_form_pave(critics, **batch)[1].mpr, critics)
    network = critics.unstack(0)
    by_layer = gradients(generic_losses(network, batch, 0).mpr, network.parameters())
    subtracted = torch.cat([g.mT.flatten() for g in by_layer[0::2]] + [g.flatten() for g in by_layer[1::2]])
    assert relative_error(by_differences, exact) <= 0.5 * relative_error(subtracted, exact)


def losses_and_td(critics, batch, target, precision="float32"):
    """TD, MPR, VFC and Curv of both critics, by name."""
    values, losses = closed_form_pave(critics, **batch, precision=precision)
    return {"td": (values - target).square().mean(dim=1)} | losses._asdict()


def half_of(rows, batch, target):
    return {name: x if name == "delta" else x[:, rows] for name, x in batch.items()}, target[:, rows]


@pytest.mark.parametrize("environment, method", sorted(trained_networks()))
def test_mixed_precision_errs_by_three_per_cent_and_a_tenth_of_the_sampling_noise_at_most(environment, method):
    critics, batch = trained_critics(environment, method)
    values = closed_form_pave(critics, **batch)[0].detach()
    target = (
        values + 0.3 * values.std() * torch.randn(values.shape, generator=torch.Generator().manual_seed(1)).double()
    )
    exact, *halves = (
        {name: first_gradient(loss, critics) for name, loss in losses_and_td(critics, *some).items()}
        for some in ((batch, target), *(half_of(slice(start, None, 2), batch, target) for start in (0, 1)))
    )
    critics, batch, target = critics.float(), {name: x.float() for name, x in batch.items()}, target.float()
    mixed = losses_and_td(critics, batch, target, "mixed")
    for name, gradient in exact.items():
        if not gradient.any():  # no row of this minibatch opens Curv's hinge
            assert not first_gradient(mixed[name], critics).any()
            continue
        noise = ((halves[0][name] - halves[1][name]).norm() / (2 * gradient.norm())).item()
        assert 0 < relative_error(first_gradient(mixed[name], critics), gradient) <= min(0.03, 0.1 * noise), name


def test_mixed_precision_multiplies_values_and_tangents_in_full():
    critics, batch = trained_critics("hopper", "base")
    critics, batch = critics.float(), {name: x.float() for name, x in batch.items()}
    full, mixed = (closed_form_pave(critics, **batch, precision=precision) for precision in ("float32", "mixed"))
    torch.testing.assert_close(mixed[0], full[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixed[1].curv, full[1].curv, rtol=1e-5, atol=1e-5)
    assert not torch.equal(mixed[1].mpr, full[1].mpr)


def test_silu_derivatives_equal_autograd():
    z = torch.linspace(-12, 12, 97, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.silu(z)
    (first,) = torch.autograd.grad(expected.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    value, slope, gate = silu_derivatives(z)
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(slope, first, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(silu_second_derivative(z, gate), second, rtol=1e-12, atol=1e-15)


def silu_network(widths, seed, *, bias=True):
    torch.manual_seed(seed)
    layers = [part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o, bias=bias), nn.SiLU())]
    network = nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)  # so that every derivative is of order one
    return network


def one_batch(rows=7, seed=0):
    batch = random_batch(1, rows, 3, 2, torch.Generator().manual_seed(seed))
    return {name: tensor[0] for name, tensor in batch.items()} | {"delta": 0.7}


def through_functions(networks):
    """The same critic in a form that has no closed form."""
    if isinstance(networks, nn.Sequential):
        return lambda s, a: networks(torch.cat([s, a], 1))
    return lambda s, a: tuple(network(torch.cat([s, a], 1)) for network in networks)


NETWORKS = {
    "one": silu_network((5, 6, 1), 0),
    "deep": silu_network((5, 6, 4, 7, 1), 1),
    "without biases": silu_network((5, 6, 4, 1), 2, bias=False),
    "twins": (silu_network((5, 6, 1), 3), silu_network((5, 6, 1), 4)),
    "twins of two shapes": [silu_network((5, 6, 1), 5), silu_network((5, 4, 3, 1), 6)],
}


def parameters(networks):
    return [
        p for network in ([networks] if isinstance(networks, nn.Sequential) else networks) for p in network.parameters()
    ]


@pytest.mark.parametrize("name", NETWORKS)
def test_pave_losses_of_silu_networks_are_the_closed_form_and_equal_nested_autograd(name, monkeypatch):
    critic, batch = NETWORKS[name], one_batch()
    generic = pave_losses(through_functions(critic), **batch)
    monkeypatch.setattr("paperlib.pave.losses._by_autograd", None)
    closed = pave_losses(critic, **batch)
    for ours, theirs in zip(closed, generic, strict=True):
        assert ours.shape == theirs.shape and (theirs > 0).all()
        torch.testing.assert_close(ours, theirs, rtol=RELATIVE_TOLERANCE, atol=0)
        assert_equal_gradients(*(gradients(x.sum(), parameters(critic)) for x in (ours, theirs)))


def test_they_are_differentiable_by_inputs_and_twice_like_the_generic_losses():
    critic, batch = NETWORKS["deep"], one_batch()
    inputs = [batch[name].requires_grad_() for name in ("states", "actions", "next_states")]
    slopes = []
    for one in (critic, through_functions(critic)):
        total = sum(pave_losses(one, **batch))
        by_inputs = torch.autograd.grad(total, inputs, create_graph=True)
        slopes.append([*by_inputs, *gradients(sum(x.square().sum() for x in by_inputs), critic.parameters())])
    assert_equal_gradients(*slopes)


OTHERS = {
    "another activation": lambda: nn.Sequential(nn.Linear(5, 6), nn.Softplus(), nn.Linear(6, 1)),
    "a normalisation": lambda: nn.Sequential(nn.Linear(5, 6), nn.LayerNorm(6), nn.SiLU(), nn.Linear(6, 1)),
    "no hidden layer": lambda: nn.Sequential(nn.Linear(5, 1)),
    "an activation at the end": lambda: nn.Sequential(nn.Linear(5, 1), nn.SiLU()),
    "several outputs": lambda: nn.Sequential(nn.Linear(5, 6), nn.SiLU(), nn.Linear(6, 2)),
    "spectral normalisation": lambda: nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(5, 6)), nn.SiLU(), nn.Linear(6, 1)
    ),
    "a hook": lambda: hooked(silu_network((5, 6, 1), 0)),
    "one of twins": lambda: (silu_network((5, 6, 1), 0), nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 1))),
    "a function": lambda: through_functions(silu_network((5, 6, 1), 0)),
}


def hooked(network):
    network[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return network


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_plain_silu_network_has_no_closed_form(name):
    assert silu_networks(OTHERS[name]()) is None


def test_a_hooked_network_gets_the_losses_of_what_it_computes():
    network = OTHERS["a hook"]()
    losses = pave_losses(network, **one_batch())
    torch.testing.assert_close(tuple(losses), tuple(pave_losses(through_functions(network), **one_batch())))


def test_a_compiled_network_and_compiled_losses_are_the_closed_form():
    torch.compiler.reset()
    network = silu_network((5, 6, 1), 0)
    expected = tuple(pave_losses(network, **one_batch()))
    torch.testing.assert_close(tuple(pave_losses(torch.compile(network, backend="aot_eager"), **one_batch())), expected)
    layers = closed_form.silu_networks(network)[0]
    compiled = torch.compile(closed_form.network_losses, backend="aot_eager", fullgraph=True)(layers, **one_batch())
    torch.testing.assert_close(tuple(compiled[1]), expected)


def test_the_closed_form_refuses_what_the_generic_losses_refuse():
    network = silu_network((5, 6, 1), 0)
    with pytest.raises(TypeError, match="network 0 is torch.float32 but states is torch.float64"):
        pave_losses(silu_network((5, 6, 1), 0).float(), **one_batch())
    with pytest.raises(ValueError, match="network 0 reads 5 numbers, but states have 3 and actions 1"):
        pave_losses(network, **one_batch() | {name: torch.ones(7, 1).double() for name in ("actions", "probes")})
    with torch.no_grad():
        network[-1].bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="critic 1 returned nan at row 0"):
        pave_losses((silu_network((5, 6, 1), 0), network), **one_batch())
