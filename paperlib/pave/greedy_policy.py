"""The greedy policy a*(s) = argmax_a Q(s, a) of a critic over a box of actions, found by search.

The critic is one of `critic_geometry`'s, a single one and twice differentiable in the action: any callable
`critic(states (B, d_s), actions (B, d_a)) -> (B,)` or `(B, 1)`. Nothing here uses the implicit function theorem: the
maximiser is searched for, and its Jacobian is a difference of maximisers found anew at neighbouring states. Both are
therefore a check of PAVE's Lemma 1 and Proposition 2, which `critic_geometry` states from second derivatives.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from paperlib.pave.critic_geometry import (
    Critic,
    NoCurvatureError,
    action_gradient,
    action_hessian,
    check_batch,
    critic_values,
)

_STATES_AT_ONCE = 64  # of the search by values: 64 states times 256 actions are one batch of the critic
_ASCENT_STEPS, _NEWTON_STEPS = 60, 25
_SHARES_OF_A_STEP = (1.0, 0.5, 0.125, 0.015625)


class NoMaximumError(ValueError):
    """The critic has no maximiser of the kind asked for, or an iteration did not arrive at one."""


@dataclass(frozen=True, eq=False)
class GreedyActions:
    """Maximisers over the box: actions (B, d_a); interior (B,) bool, true where Lemma 1 applies: strictly inside the
    box, with H_aa negative definite."""

    actions: Tensor
    interior: Tensor


def greedy_actions(
    critic: Critic, states: Tensor, action_dim: int, *, bound: float = 1.0, samples: int = 256
) -> GreedyActions:
    """The maximiser of Q(s, .) over [-bound, bound]^d_a at each of `states` (B, d_s).

    Of `samples` actions spread evenly over the box (a Sobol sequence, the same at every call) and, while they are no
    more, its corners, those that no near neighbour beats are starts of a projected Newton ascent, and the highest end
    is taken. A peak narrower than the spacing of the samples can be missed: raise their number with the dimension of
    the action and the bends of the critic. Interior maximisers are good to rounding, those on a face of the box to
    about the root of it.

    Raises ValueError for a bound or a count that is not positive, NoCurvatureError for a critic without second
    derivatives (ReLU), and TypeError or ValueError as `critic_geometry` does.
    """
    check_batch(states=states)
    if not (0 < bound < torch.inf and samples > 0 and action_dim > 0):
        raise ValueError(
            f"bound, samples and action_dim must be above 0 and finite, are {bound}, {samples}, {action_dim}"
        )
    rows, starts = _promising(critic, states, action_dim, bound, samples)
    ends = _ascend(critic, states[rows], starts, bound)
    actions = ends[_best_of_each(rows, _values(critic, states[rows], ends), len(states))]
    interior = (actions.abs() < bound).all(dim=1)
    if interior.any():
        refined, arrived = refine_maximisers(critic, states[interior], actions[interior])
        arrived &= (refined.abs() < bound).all(dim=1)
        actions[interior] = torch.where(arrived[:, None], refined, actions[interior])
        interior[interior.clone()] = arrived
    return GreedyActions(actions, interior)


def refine_maximisers(critic: Critic, states: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's method for grad_a Q = 0 from `actions` (B, d_a), without a box: follows a maximiser to a nearby state.

    Returns the actions reached (B, d_a) and where they are strict local maxima, (B,) bool: the iteration settled there
    and H_aa is negative definite. An ascent sees values, whose rounding hides the last half of the digits; this is good
    to the rounding of the gradient.
    """
    check_batch(states=states, actions=actions)
    actions = actions.detach().clone()
    arrived = torch.zeros_like(actions[:, 0], dtype=torch.bool)
    moving = torch.arange(len(actions), device=actions.device)
    longest = 1 + actions.norm(dim=1)  # a row that goes astray stays finite
    for taken in range(_NEWTON_STEPS):
        s, a = states[moving], actions[moving]
        eigenvalues, vectors = torch.linalg.eigh(_hessian(critic, s, a, taken))
        slopes = (vectors.mT @ action_gradient(critic, s, a)[:, :, None])[:, :, 0]
        step = -(vectors @ (slopes / _away_from_zero(eigenvalues))[:, :, None])[:, :, 0]
        actions[moving] = a + _no_longer_than(longest[moving], step)
        # The error after a step is of the order of that step squared, so that no further one is needed.
        settled = step.norm(dim=1) <= _tolerance(step) * longest[moving]
        arrived[moving] = settled & (eigenvalues[:, -1] < 0)
        moving = moving[~settled]
        if len(moving) == 0:
            break
    return actions, arrived


def greedy_jacobian(critic: Critic, states: Tensor, actions: Tensor, *, step: float = 3e-6) -> Tensor:
    """Jacobian of the greedy policy without Lemma 1, (B, d_a, d_s): central differences of the maximiser.

    actions (B, d_a): interior maximisers at `states` (B, d_s), from which Newton's method follows the branch to states
    `step` away. The relative error at the default step was below 1e-7 for all critics of this project; it grows as
    step^2 above that and as 1 / step below.

    Raises TypeError unless both are float64, ValueError for a step that is not positive, NoMaximumError naming the
    first row whose maximiser is lost on the way.
    """
    check_batch(states=states, actions=actions)
    if states.dtype != torch.float64:
        raise TypeError(f"differences of {states.dtype} maximisers are rounding: use float64, critic included")
    if not step > 0:
        raise ValueError(f"step must be above 0, is {step}")
    shifts = step * torch.eye(states.shape[1], dtype=states.dtype, device=states.device)
    shifts = torch.cat([shifts, -shifts])
    shifted = (states + shifts[:, None]).flatten(0, 1)
    moved, arrived = refine_maximisers(critic, shifted, actions.repeat(len(shifts), 1))
    if not arrived.all():
        row = int((~arrived).nonzero()[0]) % len(states)
        raise NoMaximumError(f"the maximiser next to row {row} is lost: is the action there a strict maximum?")
    ahead, behind = moved.view(2, -1, *actions.shape)
    return ((ahead - behind) / (2 * step)).permute(1, 2, 0)


def _values(critic: Critic, states: Tensor, actions: Tensor) -> Tensor:
    with torch.no_grad():
        values, several = critic_values(critic, states, actions)
    if several:
        raise ValueError(f"the greedy policy is that of one critic, got {len(values)}: pass one of them")
    return values[0]


def _promising(critic: Critic, states: Tensor, action_dim: int, bound: float, samples: int) -> tuple[Tensor, Tensor]:
    """Rows (N,) and actions (N, d_a) that none of the nearest samples beats, every row of `states` at least once."""
    points = 2 * SobolEngine(action_dim, scramble=True, seed=0).draw(samples, dtype=torch.float64) - 1
    if 2**action_dim <= samples:  # a corner collects what climbs out of the box, and no sample lies on it
        corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=points.dtype)] * action_dim)
        points = torch.cat([points, corners.view(-1, action_dim)])
    nearest = torch.cdist(points, points).topk(min(4 * action_dim + 1, len(points)), largest=False).indices
    points, nearest = (bound * points).to(states), nearest.to(states.device)
    tops = []
    for some in states.split(_STATES_AT_ONCE):
        values = _values(critic, some.repeat_interleave(len(points), 0), points.repeat(len(some), 1))
        values = values.view(len(some), -1)
        tops.append((values[:, :, None] >= values[:, nearest]).all(dim=2))
    rows, which = torch.cat(tops).nonzero(as_tuple=True)
    return rows, points[which]


def _best_of_each(rows: Tensor, values: Tensor, count: int) -> Tensor:
    """Index of the largest of `values` (N,) in each of `count` rows, (count,); the first of equal ones."""
    largest = values.new_full((count,), -torch.inf).scatter_reduce(0, rows, values, "amax")
    at = (values == largest[rows]).nonzero()[:, 0]
    return at.new_full((count,), len(rows)).scatter_reduce(0, rows[at], at, "amin")


def _ascend(critic: Critic, states: Tensor, actions: Tensor, bound: float) -> Tensor:
    """Climb inside the box until nothing helps: of a Newton step, a gradient step and shares of them the best."""
    actions, moving = actions.clone(), torch.arange(len(actions), device=actions.device)
    for taken in range(_ASCENT_STEPS):
        s, a = states[moving], actions[moving]
        newton, gradient = _ascent_directions(critic, s, a, bound, taken)
        shortened = [a + share * step for step in (newton, gradient) for share in _SHARES_OF_A_STEP]
        trials = torch.stack([a, *shortened]).clamp(-bound, bound)
        values = torch.stack([_values(critic, s, trial) for trial in trials])
        actions[moving] = trials[values.argmax(0), torch.arange(len(a), device=a.device)]
        moving = moving[(actions[moving] - a).abs().amax(dim=1) > _tolerance(a) * bound]
        if len(moving) == 0:
            break
    return actions


def _ascent_directions(
    critic: Critic, states: Tensor, actions: Tensor, bound: float, taken: int
) -> tuple[Tensor, Tensor]:
    """A Newton and a gradient step, both at most half the box long, in the coordinates that no face holds.

    Newton's takes the absolute values of the eigenvalues, so that it points uphill at saddles and minima too. Beside a
    face it can point out of the box where the gradient points into it: hence both.
    """
    gradient = action_gradient(critic, states, actions)
    held = ((actions >= bound) & (gradient > 0)) | ((actions <= -bound) & (gradient < 0))
    free = (~held).to(gradient)
    hessian = _hessian(critic, states, actions, taken) * free[:, :, None] * free[:, None, :]
    eigenvalues, vectors = torch.linalg.eigh(hessian - torch.diag_embed(1 - free))
    slopes = vectors.mT @ (gradient * free)[:, :, None]
    newton = free * (vectors @ (slopes / _away_from_zero(eigenvalues).abs()[:, :, None]))[:, :, 0]
    half = torch.full_like(actions[:, 0], 0.5 * bound)
    return _no_longer_than(half, newton), _no_longer_than(half, gradient * free)


def _hessian(critic: Critic, states: Tensor, actions: Tensor, taken: int) -> Tensor:
    """H_aa after `taken` steps. A critic that has none is refused at the first; later it is that the last rows on their
    way have come to where the critic saturates, and there it is zero."""
    try:
        return action_hessian(critic, states, actions)
    except NoCurvatureError:
        if taken == 0:
            raise
        return actions.new_zeros(*actions.shape, actions.shape[1])


def _no_longer_than(length: Tensor, step: Tensor) -> Tensor:
    """`step` (B, d) shortened to `length` (B,) where it is longer."""
    norm = step.norm(dim=1).clamp_min(torch.finfo(step.dtype).tiny)
    return step * (length / norm).clamp_max(1.0)[:, None]


def _away_from_zero(eigenvalues: Tensor) -> Tensor:
    """The eigenvalues (B, d), those that are rounding replaced by the smallest number that is not."""
    floor = torch.finfo(eigenvalues.dtype).eps * eigenvalues.abs().amax(dim=1, keepdim=True)
    floor = floor.clamp_min(torch.finfo(eigenvalues.dtype).tiny ** 0.25)  # a step over it has a norm
    return torch.where(eigenvalues.abs() > floor, eigenvalues, torch.where(eigenvalues > 0, floor, -floor))


def _tolerance(like: Tensor) -> float:
    """Relative step that counts as none: 4e-10 in float64."""
    return torch.finfo(like.dtype).eps ** 0.6
