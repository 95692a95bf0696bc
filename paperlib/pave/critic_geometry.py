"""Derivatives of a critic with respect to its actions, and what they say about the greedy policy.

A critic here is any callable `critic(states, actions)` that maps states `(B, d_s)` and actions `(B, d_a)` to values of
shape `(B,)` or `(B, 1)`. Several critics at once are a tuple or list of such tensors, or one tensor `(n_critics, B)` or
`(n_critics, B, 1)`; every result then has a leading axis `n_critics`. A tensor `(1, 1)` for a batch of one is read as
one critic, and `(2, 2)` for a batch of two as two critics, a row each; `(B, n_critics)` is refused wherever it can be
told apart. A `torch.nn.Sequential` that reads (state, action), or a tuple or list of such for several critics, is a
critic as it stands. Row b of the values may depend on row b of the inputs only (no batch statistics), and two calls
with the same inputs must agree (no dropout); modules that break this are refused where the critic is a module that
shows them. States and actions of the same width cannot be told apart: mind their order.

Derivatives come from `torch.autograd.grad`, one call per action dimension for second derivatives, over the whole batch.
This asks nothing of the critic beyond autograd support, where `torch.func` would reject in-place writes and modules
that have no batching rule. Results keep the dtype and device of the inputs, and they are partial derivatives: actions
computed from the states do not leak into the derivative by the states. Critics under torch.compile are run uncompiled
here, as what is compiled has no second derivatives.
"""

import math
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

Critic = (
    Callable[[Tensor, Tensor], Tensor | tuple[Tensor, ...] | list[Tensor]] | nn.Sequential | Sequence[nn.Sequential]
)


class IndefiniteHessianError(ValueError):
    """An action Hessian is not negative definite, so the action is not a strict maximum of the critic.

    `index` is the batch index of the first such Hessian (a tuple, one entry per leading axis), `eigenvalue` its largest
    eigenvalue.
    """

    def __init__(self, index: tuple[int, ...], eigenvalue: float, failures: int, total: int):
        self.index = index
        self.eigenvalue = eigenvalue
        super().__init__(
            f"action Hessian at batch index {index} is not negative definite: its largest eigenvalue is "
            f"{eigenvalue:.6g} ({failures} of {total} Hessians fail); the critic has no strict maximum there"
        )


class NoCurvatureError(ValueError):
    """The critic's action gradient does not change with the action, so there is no second derivative to use."""

    def __init__(self, name: str, *, compiled: bool = False):
        reason = (
            "torch.compile leaves none; call this outside of what is compiled"
            if compiled
            else "its action gradient does not depend on them, as with ReLU layers or a critic linear in the actions; "
            "use a smooth activation such as SiLU"
        )
        super().__init__(f"{name} has no second derivative with respect to the actions: {reason}")


class NotFiniteError(ValueError):
    """A critic returned a value that is not finite."""


class PolicyLipschitzBound(NamedTuple):
    """Constants of PAVE Proposition 2 over a batch; tensors of the leading shape (0-d for one critic).

    M: largest spectral norm of the mixed Hessian. mu: smallest distance of the action Hessian's largest eigenvalue
    below zero. bound: M / mu. pointwise_bound: largest ratio of the two taken at the same point, never above `bound`.
    """

    M: Tensor
    mu: Tensor
    bound: Tensor
    pointwise_bound: Tensor


def check_batch(**arguments: Tensor) -> None:
    """Raise unless every argument is a finite floating `(B, d)` tensor and all share B, dtype and device.

    Raises TypeError (not a tensor, wrong dtype) or ValueError (shape, device, first row that is not finite).
    """
    reference_name, reference = next(iter(arguments.items()))
    for name, value in arguments.items():
        _require_floating_tensor(name, value)
        if value.ndim != 2 or 0 in value.shape:
            raise ValueError(f"{name} must have shape (B, d) with B >= 1 and d >= 1, got {tuple(value.shape)}")
        if value.shape[0] != reference.shape[0]:
            raise ValueError(
                f"{name} has {value.shape[0]} rows but {reference_name} has {reference.shape[0]}: "
                f"shapes {tuple(value.shape)} and {tuple(reference.shape)}"
            )
        if value.dtype != reference.dtype:
            raise TypeError(f"{name} is {value.dtype} but {reference_name} is {reference.dtype}")
        if value.device != reference.device:
            raise ValueError(f"{name} is on {value.device} but {reference_name} is on {reference.device}")
        finite = value.isfinite().all(dim=1)
        if not finite.all():
            raise ValueError(f"{name} is not finite; first bad row is {_first(~finite)[0]}")


def critic_values(critic: Critic, states: Tensor, actions: Tensor) -> tuple[list[Tensor], bool]:
    """Evaluate the critic: a list of values `(B,)`, one per critic, and whether the critic returned several.

    Raises TypeError or ValueError where the output is not of a documented shape or is not finite.
    """
    output = _output(critic, states, actions)
    batch = states.shape[0]
    if isinstance(output, tuple | list):
        values, stacked = [_single_critic(value, batch, i) for i, value in enumerate(output)], True
        if not values:
            raise ValueError("critic returned an empty sequence of values")
    elif not isinstance(output, Tensor):
        raise TypeError(f"critic must return a tensor or a tuple or list of tensors, got {type(output).__name__}")
    elif tuple(output.shape) in ((batch,), (batch, 1)):
        values, stacked = [output.reshape(batch)], False
    elif output.ndim in (2, 3) and output.shape[0] > 0 and output.shape[1:] in ((batch,), (batch, 1)):
        values, stacked = list(output.reshape(-1, batch)), True
    else:
        raise ValueError(
            f"critic returned shape {tuple(output.shape)} for a batch of {batch}; expected ({batch},), ({batch}, 1), "
            f"(n_critics, {batch}) or (n_critics, {batch}, 1), or a tuple or list of the first two"
        )
    for i, value in enumerate(values):
        require_finite(value, critic_name(i, stacked))
    return values, stacked


def require_finite(values: Tensor, name: str) -> None:
    """NotFiniteError that names the first row of a critic's `(B,)` values that is not finite."""
    if not values.isfinite().all():
        row = _first(~values.isfinite())[0]
        raise NotFiniteError(f"{name} returned {values[row].item()} at row {row}")


def sequential_networks(critic: Any) -> list[nn.Sequential] | None:
    """The networks of a critic given as torch.nn.Sequential or a tuple or list of such, uncompiled; else None."""
    parts = critic if isinstance(critic, tuple | list) else [critic]
    networks: list[Any] = [getattr(part, "_orig_mod", part) for part in parts]
    return networks if networks and all(isinstance(network, nn.Sequential) for network in networks) else None


def check_networks(networks: Sequence[nn.Sequential], states: Tensor, actions: Tensor) -> None:
    """ValueError or TypeError unless the networks' first layers read (state, action) in the inputs' precision."""
    wide = states.shape[1] + actions.shape[1]
    for i, network in enumerate(networks):
        layer = next(iter(network), None)
        if isinstance(layer, nn.Linear) and layer.in_features != wide:
            raise ValueError(
                f"network {i} reads {layer.in_features} numbers, but states have {states.shape[1]} and actions "
                f"{actions.shape[1]}"
            )
        if isinstance(layer, nn.Linear) and layer.weight.dtype != states.dtype:
            raise TypeError(f"network {i} is {layer.weight.dtype} but states is {states.dtype}")


def _output(critic: Critic, states: Tensor, actions: Tensor) -> Any:
    networks = sequential_networks(critic)
    parts: Sequence[Any] = networks or [critic]
    for part in parts:
        _require_independent_rows(part)
    if networks is not None:
        check_networks(networks, states, actions)
        values = tuple(network(torch.cat([states, actions], dim=1)) for network in networks)
        return values if isinstance(critic, tuple | list) else values[0]
    if not callable(critic):
        raise TypeError(f"critic must be callable as critic(states, actions), and is {type(critic).__name__}")
    try:
        with _uncompiled():
            return critic(states, actions)
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        raise TypeError(f"the critic does not take {states.dtype}: convert it or the inputs ({error})") from error


def _require_independent_rows(critic: Any) -> None:
    """ValueError for a module that is training with layers whose output is random or depends on the other rows."""
    for name, module in critic.named_modules() if isinstance(critic, nn.Module) else ():
        if module.training and isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd):
            raise ValueError(
                f"the critic's layer {name} is {type(module).__name__}, with which a row's value is random or depends "
                "on the other rows: leave it out, or call eval() first"
            )


def _uncompiled() -> AbstractContextManager:
    """In this context what torch.compile has made runs as it was written."""
    if "torch._dynamo" not in sys.modules or torch.compiler.is_compiling():
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def critic_name(index: int, stacked: bool) -> str:
    """How error messages call critic `index`."""
    return f"critic {index}" if stacked else "critic"


def partial_input(value: Tensor, create_graph: bool) -> Tensor:
    """A stand-in for `value` to differentiate by, so that no path through another input is followed."""
    if create_graph and value.requires_grad:
        return value.view_as(value)
    return value.detach().requires_grad_()


def action_gradients(critic: Critic, states: Tensor, actions: Tensor) -> tuple[list[Tensor], bool]:
    """`(B, d_a)` gradients by the actions, one per critic, with a graph to differentiate again, and `stacked`.

    Call with grad mode enabled and `actions` requiring grad. Raises ValueError for a critic that ignores the actions.
    """
    values, stacked = critic_values(critic, states, actions)
    gradients = []
    for i, value in enumerate(values):
        gradient = derivative(value.sum(), actions, create_graph=True)
        if gradient is None:
            raise ValueError(
                f"{critic_name(i, stacked)} does not depend on the actions through autograd: does it ignore or detach "
                "them, or run under torch.no_grad or torch.inference_mode?"
            )
        gradients.append(gradient)
    return gradients, stacked


def derivative(output: Tensor, variable: Tensor, *, create_graph: bool) -> Tensor | None:
    """Gradient of a 0-d `output` by `variable`, keeping the graph; None where autograd knows of no dependence."""
    if not output.requires_grad:
        return None
    return torch.autograd.grad(output, variable, create_graph=create_graph, retain_graph=True, allow_unused=True)[0]


def action_gradient(critic: Critic, states: Tensor, actions: Tensor, *, create_graph: bool = False) -> Tensor:
    """Gradient of Q by the action at each row: `(B, d_a)`, or `(n_critics, B, d_a)` for several critics.

    states `(B, d_s)`, actions `(B, d_a)`. With `create_graph` the result can be differentiated again, by the critic's
    parameters and by the inputs; otherwise it carries no graph. Raises TypeError or ValueError on bad input.
    """
    check_batch(states=states, actions=actions)
    with torch.enable_grad():
        states, actions = partial_input(states, create_graph), partial_input(actions, create_graph)
        gradients, stacked = action_gradients(critic, states, actions)
        return _stack(gradients, stacked, create_graph)


def mixed_hessian(critic: Critic, states: Tensor, actions: Tensor, *, create_graph: bool = False) -> Tensor:
    """Derivative by the state of the action gradient, H_sa in PAVE Lemma 1.

    states `(B, d_s)`, actions `(B, d_a)`; returns `(B, d_a, d_s)`, row i being the state gradient of dQ/da_i, with a
    leading `n_critics` for several critics. Zero where the action gradient does not depend on the state, which for
    piecewise linear (ReLU) critics is everywhere. `create_graph` and errors as in `action_gradient`.
    """
    check_batch(states=states, actions=actions)
    with torch.enable_grad():
        states, actions = partial_input(states, create_graph), partial_input(actions, create_graph)
        gradients, stacked = action_gradients(critic, states, actions)
        return _stack([_jacobian(g, states, create_graph) for g in gradients], stacked, create_graph)


def action_hessian(critic: Critic, states: Tensor, actions: Tensor, *, create_graph: bool = False) -> Tensor:
    """Second derivative of Q by the action, H_aa in PAVE Lemma 1.

    states `(B, d_s)`, actions `(B, d_a)`; returns `(B, d_a, d_a)` with a leading `n_critics` for several critics.
    Exactly symmetric: rounding differs between rows, and the two halves are averaged. `create_graph` and errors as in
    `action_gradient`; also raises NoCurvatureError for a critic whose action gradient is not zero yet does not change
    with the action.
    """
    check_batch(states=states, actions=actions)
    with torch.enable_grad():
        states, actions = partial_input(states, create_graph), partial_input(actions, create_graph)
        gradients, stacked = action_gradients(critic, states, actions)
        hessians = [_jacobian(gradient, actions, create_graph) for gradient in gradients]
    for i, (gradient, hessian) in enumerate(zip(gradients, hessians, strict=True)):
        require_curvature(gradient, hessian, critic_name(i, stacked))
    return _stack([(hessian + hessian.mT) / 2 for hessian in hessians], stacked, create_graph)


def require_curvature(gradient: Tensor, curvature: Tensor | None, name: str) -> Tensor:
    """`curvature`; NoCurvatureError if it is None, or zero throughout while `gradient` is not.

    A critic that is flat throughout (its output layer still zero, say) has a zero gradient as well and passes.
    """
    if curvature is None or (not curvature.any() and gradient.any()):
        raise NoCurvatureError(name, compiled=_is_compiled(gradient))
    return curvature


def _is_compiled(value: Tensor) -> bool:
    """Whether a program of torch.compile's had a part in this value."""
    todo, seen = [value.grad_fn], set[Any]()
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if "CompiledFunction" in node.name():
                return True
            todo += [function for function, _ in node.next_functions]
    return False


@overload
def implicit_policy_jacobian(mixed: Tensor, action: Tensor, /) -> Tensor: ...
@overload
def implicit_policy_jacobian(critic: Critic, states: Tensor, actions: Tensor, /) -> Tensor: ...
def implicit_policy_jacobian(critic: Tensor | Critic, states: Tensor, actions: Tensor | None = None, /) -> Tensor:
    """Jacobian of the greedy policy a*(s), -H_aa^{-1} H_sa (PAVE Lemma 1, implicit function theorem).

    Called as `implicit_policy_jacobian(mixed, action)`, with H_sa `(..., d_a, d_s)` and H_aa `(..., d_a, d_a)`, or as
    `implicit_policy_jacobian(critic, states, actions)`, which takes them from the critic at states `(B, d_s)`; actions
    `(B, d_a)` are a*(s), see `greedy_actions`. Returns `(..., d_a, d_s)`. Raises IndefiniteHessianError where H_aa is
    not negative definite, ValueError on shapes, values that are not finite, or an H_aa that is not symmetric.
    """
    mixed, action = _hessians(critic, states, actions)
    _largest_eigenvalue(action)
    return torch.linalg.solve(-action, mixed)


@overload
def policy_lipschitz_bound(mixed: Tensor, action: Tensor, /) -> PolicyLipschitzBound: ...
@overload
def policy_lipschitz_bound(critic: Critic, states: Tensor, actions: Tensor, /) -> PolicyLipschitzBound: ...
def policy_lipschitz_bound(
    critic: Tensor | Critic, states: Tensor, actions: Tensor | None = None, /
) -> PolicyLipschitzBound:
    """Bound M / mu on the Lipschitz constant of the greedy policy over a batch (PAVE Proposition 2).

    Called as `policy_lipschitz_bound(mixed, action)`, with H_sa `(..., B, d_a, d_s)` and H_aa `(..., B, d_a, d_a)`, or
    as `policy_lipschitz_bound(critic, states, actions)` like `implicit_policy_jacobian`. Suprema run over B; leading
    axes are kept. Errors as there: one Hessian that is not negative definite leaves no mu > 0.
    """
    mixed, action = _hessians(critic, states, actions)
    if mixed.ndim < 3:
        raise ValueError(f"mixed must have shape (..., B, d_a, d_s), got {tuple(mixed.shape)}")
    norms = torch.linalg.matrix_norm(mixed, ord=2)
    curvatures = -_largest_eigenvalue(action)
    largest, smallest = norms.amax(-1), curvatures.amin(-1)
    return PolicyLipschitzBound(largest, smallest, largest / smallest, (norms / curvatures).amax(-1))


def _require_floating_tensor(name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype, got {value.dtype}")


def _single_critic(value: Tensor, batch: int, index: int) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"critic {index} must return a tensor, got {type(value).__name__}")
    if tuple(value.shape) not in ((batch,), (batch, 1)):
        raise ValueError(
            f"critic {index} returned shape {tuple(value.shape)} for a batch of {batch}; "
            f"expected ({batch},) or ({batch}, 1)"
        )
    return value.reshape(batch)


def _jacobian(gradient: Tensor, variable: Tensor, create_graph: bool) -> Tensor:
    """`(B, d_a, d)` derivative of `(B, d_a)` gradients by `variable` `(B, d)`, rows being independent."""
    columns = (derivative(column.sum(), variable, create_graph=create_graph) for column in gradient.unbind(1))
    return torch.stack([torch.zeros_like(variable) if c is None else c for c in columns], dim=1)


def _stack(results: list[Tensor], stacked: bool, create_graph: bool) -> Tensor:
    result = torch.stack(results) if stacked else results[0]
    return result if create_graph else result.detach()


def _hessians(critic: Tensor | Critic, states: Tensor, actions: Tensor | None) -> tuple[Tensor, Tensor]:
    """H_sa and H_aa, checked, from these two or from a critic, states and actions."""
    if actions is not None:
        if isinstance(critic, Tensor):
            raise TypeError("give the two Hessians H_sa and H_aa, or a critic, states and actions; not three tensors")
        return mixed_hessian(critic, states, actions), action_hessian(critic, states, actions)
    if not isinstance(critic, Tensor):
        raise TypeError("give a critic with states and actions, or the two Hessians H_sa and H_aa")
    _check_hessians(critic, states)
    return critic, states


def _check_hessians(mixed: Tensor, action: Tensor) -> None:
    for name, value in (("mixed", mixed), ("action", action)):
        _require_floating_tensor(name, value)
        if value.ndim < 2 or 0 in value.shape:
            raise ValueError(f"{name} must be a batch of matrices that is not empty, got shape {tuple(value.shape)}")
        finite = value.isfinite().all(-1).all(-1)
        if not finite.all():
            raise ValueError(f"{name} is not finite at batch index {_first(~finite)}")
    if mixed.dtype != action.dtype or mixed.device != action.device:
        raise TypeError(f"mixed is {mixed.dtype} on {mixed.device}, action is {action.dtype} on {action.device}")
    if action.shape != (*mixed.shape[:-1], mixed.shape[-2]):
        raise ValueError(
            "mixed must have shape (..., d_a, d_s) and action (..., d_a, d_a) with the same leading axes, got "
            f"{tuple(mixed.shape)} and {tuple(action.shape)}"
        )
    # eigvalsh reads one triangle only, so an asymmetric matrix would pass unseen.
    asymmetry = (action - action.mT).abs().amax((-2, -1))
    asymmetric = asymmetry > math.sqrt(torch.finfo(action.dtype).eps) * action.abs().amax((-2, -1))
    if asymmetric.any():
        index = _first(asymmetric)
        raise ValueError(f"action at batch index {index} is not symmetric: entries differ by {asymmetry[index]:.3g}")


def _largest_eigenvalue(action: Tensor) -> Tensor:
    """Largest eigenvalue of each `(..., d_a, d_a)` matrix; raises unless all are negative beyond rounding."""
    eigenvalues = torch.linalg.eigvalsh(action)
    largest = eigenvalues[..., -1]
    # A one-by-one matrix is its own eigenvalue; beyond that eigvalsh errs by this much.
    rounding = (action.shape[-1] - 1) * torch.finfo(action.dtype).eps * eigenvalues.abs().amax(-1)
    failing = largest >= -rounding
    if failing.any():
        index = _first(failing)
        raise IndefiniteHessianError(index, largest[index].item(), int(failing.sum()), failing.numel())
    return largest


def _first(mask: Tensor) -> tuple[int, ...]:
    """Index of the first true entry."""
    return tuple(mask.nonzero()[0].tolist())
