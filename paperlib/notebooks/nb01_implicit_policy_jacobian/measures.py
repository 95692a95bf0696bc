"""Measurements for PAVE Lemma 1: the Jacobian of the greedy policy a*(s) = argmax_a Q(s, a).

Critics are callables `critic(states (B, d_s), actions (B, d_a)) -> (B,)`, everything is float64. Each formula of the
lemma enters as an argument with the printed one as its default, so that a wrong formula can be seen to fail.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacfwd, jacrev, vmap

from paperlib.pave.critic_geometry import (
    action_gradient,
    action_hessian,
    check_batch,
    implicit_policy_jacobian,
    mixed_hessian,
)
from paperlib.pave.engine.evaluation import play_episodes
from paperlib.pave.example_critics import (
    ConcaveCritic,
    NetworkCritic,
    QuadraticCritic,
    random_network,
    trained_networks,
)

Critic = Callable[[Tensor, Tensor], Tensor]
JacobianFormula = Callable[[Tensor, Tensor], Tensor]

_MARGIN = 0.05  # interior: this share of the box's half-width away from every face
_RELATIVE_CURVATURE = 1e-3  # of a strict maximum: smallest over largest |eigenvalue| of H_aa
_SETTLED = 1e-9  # relative Newton step


class NoMaximumError(ValueError):
    """An iteration did not arrive at a maximiser."""


@dataclass(frozen=True, eq=False)
class InteriorMaxima:
    """Strict interior maximisers of one critic: actions (B, d_a) at states (B, d_s), in the box [-bound, bound]."""

    label: str
    critic: Critic
    states: Tensor
    actions: Tensor
    bound: float

    def __len__(self) -> int:
        return len(self.states)

    def hessians(self) -> tuple[Tensor, Tensor]:
        """H_sa (B, d_a, d_s) and H_aa (B, d_a, d_a) at the maximisers."""
        return mixed_hessian(self.critic, self.states, self.actions), action_hessian(
            self.critic, self.states, self.actions
        )

    def jacobian(self, formula: JacobianFormula = implicit_policy_jacobian) -> Tensor:
        """`formula(H_sa, H_aa)`, (B, d_a, d_s)."""
        return formula(*self.hessians())

    def thinned(self, count: int) -> InteriorMaxima:
        """At most `count` of them, spread evenly."""
        rows = torch.linspace(0, len(self) - 1, min(count, len(self))).long()
        return replace(self, states=self.states[rows], actions=self.actions[rows])


# Solvers


def ascend(critic: Critic, states: Tensor, starts: Tensor, *, bound: float, steps: int = 60) -> Tensor:
    """Climb from `starts` (B, d_a) inside the box: Newton steps with |H_aa|, cut short until the value rises.

    With the absolute values of its eigenvalues in place of the Hessian the direction points uphill everywhere, at
    saddles too. Rows stop where no shortened step helps: at an interior maximum, or on a face of the box.
    """
    check_batch(states=states, starts=starts)
    actions = starts.clone()
    for _ in range(steps):
        eigenvalues, vectors = torch.linalg.eigh(action_hessian(critic, states, actions))
        slope = (vectors.mT @ action_gradient(critic, states, actions)[:, :, None]).squeeze(2)
        step = (vectors @ (slope / eigenvalues.abs().clamp_min(1e-9))[:, :, None]).squeeze(2)
        step = step * (0.3 * bound / step.norm(dim=1, keepdim=True).clamp_min(1e-300)).clamp_max(1.0)
        with torch.no_grad():
            trials = torch.stack([(actions + t * step).clamp(-bound, bound) for t in (0.0, 1.0, 0.5, 0.2, 0.03)])
            values = torch.stack([critic(states, trial) for trial in trials])
        moved = trials[values.argmax(0), torch.arange(len(actions))]
        if torch.equal(moved, actions):
            break
        actions = moved
    return actions


def newton_maximiser(critic: Critic, states: Tensor, starts: Tensor, *, steps: int = 25) -> Tensor:
    """Root of grad_a Q on the branch of `starts` (B, d_a), by plain Newton steps.

    The error after a step is of the order of that step squared, so a relative step below 1e-9 is the last one needed.
    Raises NoMaximumError naming the first row that does not settle.
    """
    check_batch(states=states, starts=starts)
    actions = starts
    for _ in range(steps):
        gradient = action_gradient(critic, states, actions)
        step = torch.linalg.solve(action_hessian(critic, states, actions), -gradient)
        actions = actions + step
        sizes = step.norm(dim=1) / (1 + actions.norm(dim=1))
        if sizes.max() < _SETTLED:
            return actions
    row = int((~(sizes < _SETTLED)).nonzero()[0])
    raise NoMaximumError(f"Newton does not settle at row {row}: the last relative step is {sizes[row].item():.2g}")


def interior_maxima(
    label: str, critic: Critic, states: Tensor, action_dim: int, *, bound: float = 1.0, starts: int = 4, seed: int = 0
) -> InteriorMaxima:
    """The best strict interior maximiser at each of `states` that has one; the other states are left out.

    starts: random starting actions per state. Raises NoMaximumError if no state has an interior maximum.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = states.repeat_interleave(starts, 0)
    begin = bound * (2 * torch.rand(len(rows), action_dim, generator=generator, dtype=torch.float64) - 1)
    actions = ascend(critic, rows, begin, bound=bound)
    eigenvalues = torch.linalg.eigvalsh(action_hessian(critic, rows, actions))
    strict = eigenvalues[:, -1] < _RELATIVE_CURVATURE * eigenvalues[:, 0]
    inside = (actions.abs() <= (1 - _MARGIN) * bound).all(1)
    with torch.no_grad():
        values = torch.where(strict & inside, critic(rows, actions), -torch.inf).view(len(states), starts)
    best = torch.arange(len(states)) * starts + values.argmax(1)
    found = values.amax(1).isfinite()
    if not found.any():
        raise NoMaximumError(f"{label}: none of {len(states)} states has an interior maximum in [-{bound}, {bound}]")
    best = best[found]
    return InteriorMaxima(label, critic, states[found], newton_maximiser(critic, states[found], actions[best]), bound)


def maximisers_by_values(
    critic: Critic, states: Tensor, action_dim: int, *, bound: float = 1.0, seed: int = 0
) -> InteriorMaxima:
    """Interior maximisers found from values of Q alone: the best of 64 random actions, compass search, and
    steps to the vertex of the quadratic through neighbouring values. Box maxima on a face are left out.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = bound * (2 * torch.rand(64, action_dim, generator=generator, dtype=torch.float64) - 1)
    with torch.no_grad():
        values = torch.stack([critic(states, draw.expand(len(states), -1)) for draw in draws])
        actions = _compass_search(critic, states, draws[values.argmax(0)], bound)
        inside = (actions.abs() <= (1 - _MARGIN) * bound).all(1)
        if not inside.any():
            raise NoMaximumError(f"none of {len(states)} states has an interior maximum in [-{bound}, {bound}]")
        states, actions = states[inside], actions[inside]
        for _ in range(6):
            actions = actions + _vertex_step(critic, states, actions, spacing=3e-4)
    return InteriorMaxima("by values", critic, states, actions, bound)


def _compass_search(critic: Critic, states: Tensor, actions: Tensor, bound: float) -> Tensor:
    compass = torch.cat([torch.eye(actions.shape[1], dtype=torch.float64), -torch.eye(actions.shape[1])])
    reach = torch.full((len(states), 1), 0.25 * bound, dtype=torch.float64)
    best = critic(states, actions)
    while reach.max() > 1e-4 * bound:
        trials = torch.stack([(actions + reach * direction).clamp(-bound, bound) for direction in compass])
        values, which = torch.stack([critic(states, trial) for trial in trials]).max(0)
        better = values > best
        actions = torch.where(better[:, None], trials[which, torch.arange(len(states))], actions)
        best = torch.where(better, values, best)
        reach = torch.where(better[:, None], reach, 0.5 * reach)
    return actions


def _vertex_step(critic: Critic, states: Tensor, actions: Tensor, *, spacing: float) -> Tensor:
    """Step to the vertex of the quadratic that interpolates Q on a star of values around `actions`."""
    units = spacing * torch.eye(actions.shape[1], dtype=torch.float64)
    size = len(units)

    def value(offset: Tensor) -> Tensor:
        return critic(states, actions + offset)

    centre = value(torch.zeros(size, dtype=torch.float64))
    slope, curvature = torch.empty_like(actions), torch.empty(len(actions), size, size, dtype=torch.float64)
    for i in range(size):
        above, below = value(units[i]), value(-units[i])
        slope[:, i] = (above - below) / (2 * spacing)
        curvature[:, i, i] = (above - 2 * centre + below) / spacing**2
        for j in range(i):
            corners = value(units[i] + units[j]) + value(-units[i] - units[j])
            corners = corners - value(units[i] - units[j]) - value(units[j] - units[i])
            curvature[:, i, j] = curvature[:, j, i] = corners / (4 * spacing**2)
    return torch.linalg.solve(curvature, -slope)


# Routes to the Jacobian that do not use the lemma


def finite_difference_jacobian(maxima: InteriorMaxima, step: float) -> Tensor:
    """Central differences of the Newton-solved maximiser, (B, d_a, d_s)."""
    if not step > 0:
        raise ValueError(f"step must be above 0, is {step}")
    directions = step * torch.eye(maxima.states.shape[1], dtype=torch.float64)
    shifts = torch.cat([directions, -directions])
    shifted = (maxima.states + shifts[:, None]).flatten(0, 1)
    moved = newton_maximiser(maxima.critic, shifted, maxima.actions.repeat(len(shifts), 1))
    ahead, behind = moved.view(2, len(directions), *maxima.actions.shape)
    return ((ahead - behind) / (2 * step)).permute(1, 2, 0)


def unrolled_jacobians(maxima: InteriorMaxima, iterations: int) -> Tensor:
    """torch.func derivative of gradient ascent with momentum after each of its steps, (iterations, B, d_a, d_s).

    Rate and momentum are the best constant ones for the extreme curvatures at the maximiser; the start is 0.01 from it
    in every coordinate. Second derivatives enter only as the derivative of the program.
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, is {iterations}")
    eigenvalues = -torch.linalg.eigvalsh(action_hessian(maxima.critic, maxima.states, maxima.actions))
    low, high = eigenvalues[:, -1].sqrt(), eigenvalues[:, 0].sqrt()
    rates, momenta = (2 / (low + high)).square(), ((high - low) / (high + low)).square()

    def ascent(state: Tensor, start: Tensor, rate: Tensor, momentum: Tensor) -> Tensor:
        gradient = torch.func.grad(lambda action: maxima.critic(state[None], action[None])[0])
        path = [start, start]
        for _ in range(iterations):
            path.append(path[-1] + rate * gradient(path[-1]) + momentum * (path[-1] - path[-2]))
        return torch.stack(path[2:])

    return vmap(jacfwd(ascent), out_dims=1)(maxima.states, maxima.actions + 0.01, rates, momenta).detach()


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """Largest ||value - reference||_F / ||reference||_F over a batch of matrices."""
    if value.shape != reference.shape:
        raise ValueError(f"shapes differ: {tuple(value.shape)} and {tuple(reference.shape)}")
    norms = torch.linalg.matrix_norm(reference)
    if (norms == 0).any():
        raise ValueError(f"reference is zero at row {int((norms == 0).nonzero()[0])}: no relative difference")
    return (torch.linalg.matrix_norm(value - reference) / norms).max().item()


# The proof's steps and the lemma


def first_order_residual(maxima: InteriorMaxima) -> float:
    """Largest ||grad_a Q|| / ||H_aa||_2: about the distance to where the gradient vanishes, in units of the action."""
    gradient = action_gradient(maxima.critic, maxima.states, maxima.actions).norm(dim=1)
    hessian = action_hessian(maxima.critic, maxima.states, maxima.actions)
    return (gradient / torch.linalg.matrix_norm(hessian, ord=2)).max().item()


def total_derivative(mixed: Tensor, action: Tensor, jacobian: Tensor) -> Tensor:
    """H_sa + H_aa J: the derivative of grad_a Q(s, a*(s)) by s."""
    return mixed + action @ jacobian


def total_derivative_residual(
    maxima: InteriorMaxima,
    step: float,
    total: Callable[[Tensor, Tensor, Tensor], Tensor] = total_derivative,
) -> float:
    """Largest ||total(H_sa, H_aa, D)||_2 / ||H_sa||_2, D from central differences with `step`."""
    mixed, action = maxima.hessians()
    residual = total(mixed, action, finite_difference_jacobian(maxima, step))
    norm = torch.linalg.matrix_norm
    return (norm(residual, ord=2) / norm(mixed, ord=2)).max().item()


def difference_errors(maxima: InteriorMaxima, steps: Sequence[float], reference: Tensor) -> list[float]:
    """Relative error of the central-difference Jacobian against `reference` at each step, largest over the states."""
    return [relative_difference(finite_difference_jacobian(maxima, step), reference) for step in steps]


def extrapolated_jacobian(maxima: InteriorMaxima, step: float) -> Tensor:
    """Richardson's (4 D(h/2) - D(h)) / 3: a reference of order h^4 that knows nothing of the lemma."""
    return (4 * finite_difference_jacobian(maxima, step / 2) - finite_difference_jacobian(maxima, step)) / 3


def log_log_slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Least-squares slope of log y against log x; ValueError unless there are two points and all are positive."""
    abscissa, ordinate = (torch.as_tensor(v, dtype=torch.float64) for v in (x, y))
    if len(abscissa) < 2 or abscissa.shape != ordinate.shape or (abscissa <= 0).any() or (ordinate <= 0).any():
        raise ValueError(f"a log-log slope needs two or more pairs of positive numbers, got {list(x)} and {list(y)}")
    logs = abscissa.log() - abscissa.log().mean()
    return ((logs * ordinate.log()).sum() / logs.square().sum()).item()


# The geometric reading


def scaling_error(
    maxima: InteriorMaxima,
    factors: Sequence[float],
    step: float,
    law: Callable[[float, float], float] = lambda alpha, beta: alpha / beta,
) -> float:
    """Largest relative error of J(alpha, beta) against law(alpha, beta) J(1, 1) over all pairs from `factors`.

    beta Q(s0 + (alpha / beta)(s - s0), a) has at s0 the maximiser of Q, alpha times its H_sa and beta times its H_aa.
    J comes from central differences of the Newton-solved maximiser.
    """
    unscaled = finite_difference_jacobian(maxima, step)
    errors = []
    for alpha in factors:
        for beta in factors:
            critic = _scaled_critic(maxima, alpha, beta)
            measured = finite_difference_jacobian(replace(maxima, critic=critic), step * beta / alpha)
            errors.append(relative_difference(measured, law(alpha, beta) * unscaled))
    return max(errors)


def _scaled_critic(maxima: InteriorMaxima, alpha: float, beta: float) -> Critic:
    # Rows come in whole repetitions of the maxima's states, as finite_difference_jacobian lays them out.
    def critic(states: Tensor, actions: Tensor) -> Tensor:
        anchors = maxima.states.repeat(len(states) // len(maxima), 1)
        return beta * maxima.critic(anchors + (alpha / beta) * (states - anchors), actions)

    return critic


def flat_quadratic(curvature: float, coupling: float = 1.0) -> InteriorMaxima:
    """Maximiser of a quadratic with action curvatures `curvature` and 1 in a turned basis, and H_sa `coupling` times
    a fixed matrix (2 x 2).
    """
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]], dtype=torch.float64)
    hessian = turn @ torch.diag(torch.tensor([curvature, 1.0], dtype=torch.float64)) @ turn.mT
    mixed = coupling * torch.tensor([[1.0, 0.3], [-0.2, 0.5]], dtype=torch.float64)
    critic = QuadraticCritic((hessian + hessian.mT) / 2, mixed)
    states = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    return InteriorMaxima("quadratic", critic, states, critic.maximiser(states).detach(), torch.inf)


def flat_quartic(curvature: float, coupling: float = 1.0) -> InteriorMaxima:
    """Maximiser, the cube root of s, of coupling s a - a^4/4 at the state where its action curvature is `curvature`."""
    action = torch.tensor([[curvature / 3]], dtype=torch.float64).sqrt()

    def critic(states: Tensor, actions: Tensor) -> Tensor:
        return (coupling * states * actions - actions.pow(4) / 4).sum(1)

    return InteriorMaxima("quartic", critic, action.pow(3) / coupling, action, torch.inf)


def undriven_quadratic(curvature: float, coupling: float = 1.0) -> InteriorMaxima:
    """Maximiser of a quadratic with H_aa = -diag(`curvature`, 1) and H_sa = (0, `coupling`)': no coupling drives the
    flat direction.
    """
    hessian = torch.diag(torch.tensor([curvature, 1.0], dtype=torch.float64))
    critic = QuadraticCritic(hessian, torch.tensor([[0.0], [coupling]], dtype=torch.float64))
    states = torch.tensor([[0.4]], dtype=torch.float64)
    return InteriorMaxima("undriven quadratic", critic, states, critic.maximiser(states).detach(), torch.inf)


def sensitivity_slope(
    case: Callable[[float, float], InteriorMaxima],
    curvatures: Sequence[float],
    coupling: Callable[[float], float] = lambda curvature: 1.0,
) -> tuple[float, list[float]]:
    """Log-log slope of ||J||_2, from central differences, against the curvature, and the norms themselves.

    case: `flat_quadratic`, `flat_quartic` or `undriven_quadratic`. coupling: H_sa as a function of the curvature,
    constant as printed.
    """
    norms = [_sensitivity(case(curvature, coupling(curvature))) for curvature in curvatures]
    return log_log_slope(curvatures, norms), norms


def coupling_along(mixed: Tensor, direction: Tensor) -> Tensor:
    """||u'H_sa||, how strongly the coupling drives a direction: mixed (B, d_a, d_s), direction u (B, d_a), (B,)."""
    return torch.einsum("ba,bas->bs", direction, mixed).norm(dim=1)


def driven_limit_error(maxima: InteriorMaxima, drive: Callable[[Tensor, Tensor], Tensor] = coupling_along) -> float:
    """|mu ||J||_2 - drive(H_sa, u)| / ||H_sa||_2 at one maximiser, mu and u the flattest direction of H_aa.

    J comes from central differences. It vanishes with mu if the limit of mu ||J|| is the drive.
    """
    mixed, action = maxima.hessians()
    eigenvalues, vectors = torch.linalg.eigh(action)
    scaled = -eigenvalues[:, -1] * _sensitivity(maxima)
    return ((scaled - drive(mixed, vectors[:, :, -1])).abs() / torch.linalg.matrix_norm(mixed, ord=2)).item()


def _sensitivity(maxima: InteriorMaxima) -> float:
    """||J||_2 of a single maximiser by central differences, the step a thousandth of the state."""
    jacobian = finite_difference_jacobian(maxima, 1e-3 * maxima.states.abs().min().item())
    return torch.linalg.matrix_norm(jacobian, ord=2).item()


def flattened(maxima: InteriorMaxima, curvature: float) -> InteriorMaxima:
    """The same maximisers of `curvature` times the critic."""
    return replace(maxima, critic=lambda states, actions: curvature * maxima.critic(states, actions))


def displacement_ratio(
    maxima: InteriorMaxima,
    amplification: Callable[[Tensor], Tensor] = lambda action: 1 / -torch.linalg.eigvalsh(action)[:, -1],
    change: float = 1e-6,
) -> Tensor:
    """Displacement of the maximiser under a gradient change of norm `change` along the flattest direction, over
    amplification(H_aa) times `change`, (B,). The printed amplification is ||H_aa^-1||_2.
    """
    action = action_hessian(maxima.critic, maxima.states, maxima.actions)
    push = change * torch.linalg.eigh(action).eigenvectors[:, :, -1]

    def pushed(states: Tensor, actions: Tensor) -> Tensor:
        return maxima.critic(states, actions) + (push * actions).sum(1)

    moved = newton_maximiser(pushed, maxima.states, maxima.actions)
    return (moved - maxima.actions).norm(dim=1) / (change * amplification(action))


# Hypotheses of the lemma


class StationaryPointCritic(nn.Module):
    """Q = u'Su/2 + (k'u)^3/6 - c sum_i u_i^4/4 with u = a - Ws: stationary at a = Ws with action Hessian S there.

    With S negative semidefinite, k = 0 and c > 0 the point is a strict maximum, also where S is singular.

    Args:
        hessian: S, (d_a, d_a), symmetric. location: W, (d_a, d_s). cubic: k, (d_a,). quartic: c.
    """

    def __init__(self, hessian: Tensor, location: Tensor, cubic: Tensor, quartic: float):
        super().__init__()
        if not torch.allclose(hessian, hessian.mT):
            raise ValueError("hessian must be symmetric")
        self.hessian, self.location, self.cubic, self.quartic = hessian, location, cubic, quartic

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Values, (B,)."""
        u = actions - states @ self.location.mT
        return 0.5 * (u @ self.hessian * u).sum(1) + (u @ self.cubic).pow(3) / 6 - 0.25 * self.quartic * u.pow(4).sum(1)


def stationary_points(count: int, *, signs: Sequence[float], cubic: float, seed: int) -> list[InteriorMaxima]:
    """`count` random stationary points, one critic each, with d_a = len(signs) and d_s = 2.

    signs: the eigenvalues of S are |N(0, 1)| + 0.1 times these, in a random basis: (-1, 0) gives degenerate strict
    maxima, (1, -3) saddles. cubic: standard deviation of k.
    """
    generator = torch.Generator().manual_seed(seed)
    size = len(signs)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    points = []
    for i in range(count):
        basis = torch.linalg.qr(normal(size, size)).Q
        eigenvalues = (normal(size).abs() + 0.1) * torch.tensor(signs, dtype=torch.float64)
        hessian = basis @ torch.diag(eigenvalues) @ basis.mT
        location, state = 0.1 * normal(size, 2), normal(1, 2)
        critic = StationaryPointCritic((hessian + hessian.mT) / 2, location, cubic * normal(size), 1.0)
        points.append(InteriorMaxima(f"stationary {i}", critic, state, state @ location.mT, 1.0))
    return points


def largest_curvature(maxima: InteriorMaxima) -> Tensor:
    """Largest eigenvalue of H_aa at each point, (B,)."""
    return torch.linalg.eigvalsh(action_hessian(maxima.critic, maxima.states, maxima.actions))[:, -1]


def beaten_nearby(maxima: InteriorMaxima, *, radius: float = 1e-3, directions: int = 64, seed: int = 0) -> Tensor:
    """Whether one of `directions` random actions at distance `radius` has a value no smaller, (B,) bool."""
    generator = torch.Generator().manual_seed(seed)
    size = maxima.actions.shape[1]
    offsets = nn.functional.normalize(torch.randn(directions, size, generator=generator, dtype=torch.float64), dim=1)
    with torch.no_grad():
        here = maxima.critic(maxima.states, maxima.actions)
        around = (maxima.actions + radius * offsets[:, None]).flatten(0, 1)
        values = maxima.critic(maxima.states.repeat(directions, 1), around).view(directions, len(here))
    return (values >= here).any(0)


def second_derivative_test(action: Tensor) -> Tensor:
    """Whether each H_aa (B, d_a, d_a) is negative definite, (B,) bool: at a stationary point, a strict maximum."""
    return torch.linalg.eigvalsh(action)[:, -1] < -1e-9


def curvature_of_strict_maxima(maxima: Sequence[InteriorMaxima]) -> float:
    """Largest eigenvalue of H_aa over strict maxima; ValueError if one is visibly none."""
    for points in maxima:
        if beaten_nearby(points).any():
            raise ValueError(f"{points.label} holds a point that is no strict maximum")
    return torch.cat([largest_curvature(points) for points in maxima]).max().item()


def failures_of_converse(
    points: Sequence[InteriorMaxima], test: Callable[[Tensor], Tensor] = second_derivative_test
) -> dict[str, int]:
    """Stationary points that pass the second-derivative test, and those of them that a nearby action beats."""
    cases = failures = 0
    for at in points:
        passes = test(action_hessian(at.critic, at.states, at.actions))
        cases += int(passes.sum())
        failures += int((passes & beaten_nearby(at)).sum())
    return {"cases": cases, "failures": failures}


def box_maximiser(critic: Critic, states: Tensor, starts: Tensor, *, bound: float, rate: float) -> Tensor:
    """Maximiser of a concave critic in the box [-bound, bound], (B, d_a), by at most 1000 projected gradient steps.

    rate: below 2 over the largest curvature. Raises NoMaximumError if the last step still moves by 1e-15.
    """
    check_batch(states=states, starts=starts)
    actions = starts
    for _ in range(1000):
        before, actions = actions, (actions + rate * action_gradient(critic, states, actions)).clamp(-bound, bound)
        if (actions - before).abs().max() < 1e-15:
            return actions
    raise NoMaximumError(f"projected gradient steps of rate {rate} have not settled")


def constrained_policy_jacobian(mixed: Tensor, action: Tensor, active: Tensor) -> Tensor:
    """Jacobian of the maximiser in a box, (B, d_a, d_s): active coordinates stay, the free ones follow Lemma 1.

    mixed (B, d_a, d_s), action (B, d_a, d_a); active (B, d_a) bool, true where the bound holds the action with a
    gradient that is not zero. An addition of ours.
    """
    if active.shape != mixed.shape[:2] or active.dtype != torch.bool:
        raise ValueError(
            f"active must be bool of shape {tuple(mixed.shape[:2])}, is {active.dtype} {tuple(active.shape)}"
        )
    result = torch.zeros_like(mixed)
    for row, held in enumerate(active):
        free = ~held
        if free.any():
            result[row, free] = implicit_policy_jacobian(mixed[row, free], action[row][free][:, free])
    return result


# The learned policy beside the maximiser


def action_gap_excess(
    policy: Tensor, maximisers: Tensor, bound: Callable[[Tensor, Tensor], Tensor] = lambda best, own: best - own
) -> float:
    """Largest excess, over pairs of states, of the difference in variation over the two action gaps together.

    policy, maximisers: pi(s) and a*(s) at the same states, (B, d_a). The inequality, over all pairs s != s':
    gap(s) + gap(s') >= ||a*(s) - a*(s')|| - ||pi(s) - pi(s')||.
    """
    check_batch(policy=policy, maximisers=maximisers)
    gap = (policy - maximisers).norm(dim=1)
    first, second = torch.triu_indices(len(gap), len(gap), offset=1)
    best = (maximisers[first] - maximisers[second]).norm(dim=1)
    own = (policy[first] - policy[second]).norm(dim=1)
    return (bound(best, own) - gap[first] - gap[second]).max().item()


def policy_gradient_product(jacobian: Tensor, gradient: Tensor) -> Tensor:
    """Mean over the batch of J' grad_a Q: jacobian (B, d_a, P), gradient (B, d_a), returns (P,)."""
    return torch.einsum("bap,ba->p", jacobian, gradient) / len(gradient)


def policy_gradient_difference(
    policy: nn.Module,
    critic: Critic,
    states: Tensor,
    product: Callable[[Tensor, Tensor], Tensor] = policy_gradient_product,
) -> float:
    """Relative difference between autograd's gradient of mean Q(s, pi(s)) by the actor's parameters and `product` of
    the explicit parameter Jacobian (torch.func) with grad_a Q.
    """
    parameters = dict(policy.named_parameters())
    autograd = torch.autograd.grad(critic(states, policy(states)).mean(), list(parameters.values()))
    expected = torch.cat([g.flatten() for g in autograd])

    def action(values: dict[str, Tensor], state: Tensor) -> Tensor:
        return functional_call(policy, values, (state[None],))[0]

    detached = {name: value.detach() for name, value in parameters.items()}
    blocks = vmap(jacrev(action), in_dims=(None, 0))(detached, states)
    jacobian = torch.cat([block.flatten(2) for block in blocks.values()], dim=2)
    gradient = action_gradient(critic, states, policy(states).detach())
    return ((product(jacobian, gradient) - expected).norm() / expected.norm()).item()


def policy_jacobian(policy: nn.Module, states: Tensor) -> Tensor:
    """J_pi(s), (B, d_a, d_s), of a network policy."""
    return vmap(jacrev(lambda state: policy(state[None])[0]))(states).detach()


# The critics of the notebook


@dataclass(frozen=True, eq=False)
class TrainedCase:
    """A recorded run: its deterministic policy, first critic, and states (B, d_s) that the policy visits."""

    environment: str
    method: str
    policy: nn.Module
    critic: NetworkCritic
    states: Tensor

    @property
    def label(self) -> str:
        """For tables and legends."""
        return f"{self.environment} {self.method}"


def trained_cases(count: int) -> list[TrainedCase]:
    """The recorded runs in float64, each with `count` states spread evenly over one episode of its policy."""
    cases = []
    for (environment, method), networks in sorted(trained_networks().items()):
        with torch.no_grad():
            episode = play_episodes(networks.act, environment, [[1]], backend="gymnasium")[0][0]
        rows = torch.linspace(0, len(episode.rewards) - 1, count).long()
        states = torch.as_tensor(episode.observations).double()[rows]
        policy = nn.Sequential(*networks.actor, nn.Tanh()).double()
        cases.append(TrainedCase(environment, method, policy, NetworkCritic(networks.critics[0]), states))
    return cases


def example_maxima(trained: Sequence[TrainedCase], count: int, *, seed: int = 0) -> dict[str, list[InteriorMaxima]]:
    """Interior maxima per kind of critic: quadratic, concave, random network, trained; up to `count` states each.

    A freshly initialised network bends little, so its box is [-10, 10]. Trained critics without an interior maximum
    at any of their states are left out.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    root = normal(3, 3)
    quadratic = QuadraticCritic(root @ root.mT + torch.eye(3), normal(3, 4), normal(3))
    concave = ConcaveCritic(4, 3, seed=seed)
    states = normal(count, 4)
    kinds = {
        "quadratic": [InteriorMaxima("quadratic", quadratic, states, quadratic.maximiser(states).detach(), torch.inf)],
        "concave": [InteriorMaxima("concave", concave, states, concave.maximiser(states).detach(), 1.0)],
        "random network": [
            interior_maxima(f"random network {i}", random_network(3, 1, seed=i), normal(count, 3), 1, bound=10.0)
            for i in (0, 2)
        ],
        "trained": [],
    }
    for case in trained:
        with suppress(NoMaximumError):
            action_dim = case.policy(case.states[:1]).shape[1]
            kinds["trained"].append(interior_maxima(case.label, case.critic, case.states, action_dim))
    return kinds
