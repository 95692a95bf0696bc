"""Policy-gradient ascent of many runs at once, by the paper's step-size rules, and what is recorded on the way."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import pandas as pd

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants, contraction_margin, gradient_lipschitz
from paperlib.lipschitz.gradient_estimates import Estimate
from paperlib.lipschitz.policies import GaussianPolicy
from paperlib.lipschitz.rules import RULES
from paperlib.lipschitz.step_sizes import mss_mlc, sss_mlc
from paperlib.repro import sealed_file
from paperlib.repro.code_revision import code_revision

CHECKPOINT_FILE = "ascent.npz"


class Returns(Protocol):
    """What ascent asks of a domain. `iteration` selects the random numbers; exact domains ignore it."""

    def estimate(self, theta: np.ndarray, iteration: int) -> Estimate:
        """Gradient and return at theta (R, d)."""

    def score(self, theta: np.ndarray, iteration: int) -> np.ndarray:
        """The return (R,) at theta (R, d), by the random numbers with which `estimate` estimates it."""


@dataclass(frozen=True, eq=False)
class Problem:
    """A domain with the constants that the rules are given.

    mdp: constants of the MDP, as assumed or derived. policy: gives the policy's constants, and the bound of the
    features, the deviation and the volume of the actions that AGSS uses.
    """

    returns: Returns
    mdp: MDPConstants
    policy: GaussianPolicy


@dataclass(frozen=True, eq=False)
class Step:
    """One iteration of R runs: update (R, d), step_sizes alpha of its components (R, d), step_size (R,) (their 2-norm
    for MSS-MLC), guarantee (R,), policy_constant L_pi (R,), margin (R,), and of runs with a positive margin the
    constants (R, d) of the gradient's components (NaN elsewhere).
    """

    update: np.ndarray
    step_sizes: np.ndarray
    step_size: np.ndarray
    guarantee: np.ndarray
    policy_constant: np.ndarray
    margin: np.ndarray
    lipschitz: np.ndarray


def take_step(problem: Problem, rule: str, theta: np.ndarray, gradient: np.ndarray) -> Step:
    """The step of `rule` at theta (R, d) for the gradient (R, d).

    A Lipschitz rule leaves runs without a positive contraction margin where they are: it has nothing to say there.
    """
    constants = problem.policy.constants(theta)
    margin = contraction_margin(problem.mdp, constants)
    lipschitz = _gradient_lipschitz_where(margin > 0, problem.mdp, constants)
    chosen = RULES[rule](problem.mdp, problem.policy, gradient, lipschitz)
    sizes = chosen.step_sizes
    # One step size is itself, however many parameters repeat it; of several the 2-norm.
    one = (sizes == sizes[:, :1]).all(axis=1)
    size = np.where(one, sizes[:, 0], np.linalg.norm(sizes, axis=1))
    return Step(chosen.update, sizes, size, chosen.guaranteed_improvement, constants.state, margin, lipschitz)


def _gradient_lipschitz_where(mask: np.ndarray, mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """Theorem 3's constants where the margin is positive, NaN elsewhere: shape (R, d)."""
    result = np.full(policy.score_bound.shape, np.nan)
    if mask.any():
        result[mask] = gradient_lipschitz(mdp, policy.of_batch(mask))
    return result


@dataclass
class _State:
    """Where the runs are, and what was summed up over the iterations so far.

    sums: arrays over runs (R,); tenths: over tenths of the iterations and runs (10, R); trace: a row per recorded one.
    """

    theta: np.ndarray
    sums: dict[str, np.ndarray]
    tenths: dict[str, np.ndarray]
    iteration: int = 0
    trace: list[dict[str, np.ndarray]] = field(default_factory=list)


class AscentResult(NamedTuple):
    """Tables that `Ascent.result` describes."""

    trace: pd.DataFrame
    curves: pd.DataFrame
    tenths: pd.DataFrame
    runs: pd.DataFrame


def recorded_iterations(iterations: int, count: int) -> np.ndarray:
    """`count` iterations or a few less, evenly spaced from the first, and the last; before the second of these also
    1, 2, 5, 10, 20, 50 ...: ascending.
    """
    spacing = math.ceil(iterations / max(count - 1, 1))
    early = np.outer([1, 2, 5], 10 ** np.arange(len(str(iterations)))).ravel()
    even = np.append(np.arange(0, iterations, spacing), iterations - 1)
    return np.union1d(even, early[early < min(spacing, iterations)])


class Ascent:
    """`iterations` updates of all runs from parameters `start` (R, d) by one rule.

    record_at: iterations of which tables `trace` and `curves` have rows.
    audit_every: of so many updates the improvement of one is measured, besides those of recorded iterations.
    target: tells of theta (R, d) which runs are done (R,); the first such iteration is kept, and when all runs are done
        ascent ends.
    work_folder: where to save every `save_every` iterations, and to go on from.
    """

    def __init__(
        self,
        problem: Problem,
        rule: str,
        start: np.ndarray,
        iterations: int,
        *,
        record_at: Sequence[int],
        audit_every: int = 1,
        target: Callable[[np.ndarray], np.ndarray] | None = None,
        work_folder: Path | None = None,
        save_every: int = 500,
    ):
        if rule not in RULES:
            raise ValueError(f"rule is {rule!r}; choose one of {', '.join(RULES)}")
        self.problem, self.rule, self.iterations, self.target = problem, rule, iterations, target
        self._record_at = set(map(int, record_at))
        self._audit_every, self._save_every = audit_every, save_every
        self._checkpoint = None if work_folder is None else work_folder / CHECKPOINT_FILE
        self._about = {"kind": "ascent", "rule": rule, "start": np.asarray(start).tolist(), "iterations": iterations}
        self._about["code"] = _code()
        saved = self._checkpoint and sealed_file.read(self._checkpoint, self._about, _load)
        self._state = saved or _State(np.array(start, dtype=float), *_empty_sums(len(start)))
        self._estimate = problem.returns.estimate(self._state.theta, self._state.iteration)
        _note_target(self._state, target)

    @property
    def iteration(self) -> int:
        """How many updates were made."""
        return self._state.iteration

    @property
    def theta(self) -> np.ndarray:
        """The parameters reached, shape (R, d)."""
        return self._state.theta

    @property
    def done(self) -> bool:
        """Whether all updates are made or all runs are on target."""
        on_target = self.target is not None and (self._state.sums["reached"] >= 0).all()
        return bool(on_target) or self.iteration >= self.iterations

    def advance(self) -> None:
        """One update of every run.

        The improvement of an audited one is measured by the random numbers of the next iteration: those of this one
        chose the update, and would flatter it.
        """
        state, returns = self._state, self.problem.returns
        gradient, score = self._estimate
        step = take_step(self.problem, self.rule, state.theta, gradient)
        following = state.theta + step.update
        self._estimate = returns.estimate(following, state.iteration + 1)
        tenth = state.iteration * 10 // self.iterations
        realised = np.full(len(score), np.nan)
        if state.iteration in self._record_at or state.iteration % self._audit_every == 0:
            realised = self._estimate.score - returns.score(state.theta, state.iteration + 1)
            _audit(state, tenth, realised, step)
        _sum_up(state, tenth, gradient, score, step)
        _note_stops(state, step, RULES[self.rule].needs_a_margin)
        if state.iteration in self._record_at:
            state.trace.append(_trace_row(state, gradient, score, realised, step))
        state.theta = following
        state.iteration += 1
        _note_target(state, self.target)
        if self._checkpoint is not None and state.iteration % self._save_every == 0:
            sealed_file.write(self._checkpoint, self._about, lambda file: _save(file, state))

    def result(self) -> AscentResult:
        """What was done so far, in tables.

        trace: a row per run and recorded iteration: score, angle between |gradient| and the constants of its
            components, and what MSS-MLC would guarantee there over SSS-MLC (both -1 without a positive margin).
        curves: mean and standard deviation over runs of every quantity of `_trace_row` at recorded iterations, and
            of how many runs (those where the quantity is defined).
        tenths: means of each run over each tenth of the iterations; `violations` is the share of audited updates that
            improved by less than guaranteed (NaN if none was audited), `first_component` of updates in which the first
            component of gradient and of update is the largest.
        runs: a row per run: means over all iterations, how many updates were audited, the smallest surplus of the
            realised over the guaranteed improvement, how often it was negative, first iteration without a positive
            margin for a rule that needs one and first iteration on target (-1: never), and the parameters at the end.
        """
        return AscentResult(
            _trace_table(self._state), _curves_table(self._state), _tenths_table(self._state), _runs_table(self._state)
        )


def ascend(ascents: Sequence[Ascent], progress: Callable[[int], None] = lambda updates: None) -> list[AscentResult]:
    """Several ascents to their ends, the one that is furthest behind first, so that they can share random numbers.

    progress: told how many updates have been made in all.
    """
    while unfinished := [ascent for ascent in ascents if not ascent.done]:
        min(unfinished, key=lambda ascent: ascent.iteration).advance()
        progress(sum(ascent.iteration for ascent in ascents))
    progress(sum(ascent.iterations for ascent in ascents))
    return [ascent.result() for ascent in ascents]


_SUMMED = ("score", "step_size", "policy_constant", "margin", "first_component")


def _empty_sums(runs: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Sums over all iterations and over tenths of them."""
    zeros = {name: np.zeros(runs) for name in ("violations", "audited")}
    never = {name: np.full(runs, -1.0) for name in ("stopped", "reached")}
    tenths = {name: np.zeros((10, runs)) for name in (*_SUMMED, "iterations", "violations", "audited")}
    return zeros | never | {"smallest_surplus": np.full(runs, np.inf)}, tenths


def _note_target(state: _State, target: Callable[[np.ndarray], np.ndarray] | None) -> None:
    if target is not None:
        first_time = target(state.theta) & (state.sums["reached"] < 0)
        state.sums["reached"][first_time] = state.iteration


def _audit(state: _State, tenth: int, realised: np.ndarray, step: Step) -> None:
    """Count updates, of runs that moved, that improved by less than guaranteed."""
    surplus, sums, moved = realised - step.guarantee, state.sums, step.step_size > 0
    sums["smallest_surplus"] = np.where(moved, np.minimum(sums["smallest_surplus"], surplus), sums["smallest_surplus"])
    for name, counted in (("audited", moved), ("violations", moved & (surplus < 0))):
        sums[name] += counted
        state.tenths[name][tenth] += counted


def _sum_up(state: _State, tenth: int, gradient: np.ndarray, score: np.ndarray, step: Step) -> None:
    first = [np.abs(vector).argmax(axis=1) == 0 for vector in (gradient, step.update)]
    values = score, step.step_size, step.policy_constant, step.margin, first[0] & first[1]
    for name, value in zip(_SUMMED, values, strict=True):
        state.tenths[name][tenth] += value
    state.tenths["iterations"][tenth] += 1


def _note_stops(state: _State, step: Step, needs_margin: bool) -> None:
    stops_here = (step.margin <= 0) & (state.sums["stopped"] < 0) & needs_margin
    state.sums["stopped"][stops_here] = state.iteration


def _trace_row(state: _State, gradient: np.ndarray, score: np.ndarray, realised: np.ndarray, step: Step) -> dict:
    angle, advantage = _angle_and_advantage(gradient, step.lipschitz)
    return {
        "iteration": np.full(len(score), state.iteration),
        "score": score,
        "step_size": step.step_size,
        "policy_constant": step.policy_constant,
        "margin": step.margin,
        "guarantee": step.guarantee,
        "realised": realised,
        "angle": angle,
        "mss_over_sss_mlc": advantage,
        "lipschitz_norm": np.linalg.norm(step.lipschitz, axis=1),
        "gradient_norm": np.linalg.norm(gradient, axis=1),
        **{f"theta_{i}": column for i, column in enumerate(state.theta.T)},
        **{f"step_size_{i}": column for i, column in enumerate(step.step_sizes.T)},
    }


def _angle_and_advantage(gradient: np.ndarray, lipschitz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angle (R,) between |gradient| and the constants, and MSS-MLC's guarantee over SSS-MLC's (R,); -1 without."""
    angle, advantage = np.full(len(gradient), -1.0), np.full(len(gradient), -1.0)
    can = np.isfinite(lipschitz).all(axis=1) & (gradient != 0).any(axis=1)
    if can.any():
        g, bound = np.abs(gradient[can]), lipschitz[can]
        cosine = (g * bound).sum(axis=1) / (np.linalg.norm(g, axis=1) * np.linalg.norm(bound, axis=1))
        angle[can] = np.arccos(np.clip(cosine, -1, 1))
        several, single = mss_mlc(g, bound), sss_mlc(g, bound)
        advantage[can] = several.guaranteed_improvement / single.guaranteed_improvement
    return angle, advantage


def _trace_table(state: _State) -> pd.DataFrame:
    runs = np.arange(len(state.theta))
    names = ("score", "angle", "mss_over_sss_mlc")
    parts = [
        pd.DataFrame({"run": runs, "iteration": row["iteration"]} | {name: _short(row[name]) for name in names})
        for row in state.trace
    ]
    return pd.concat(parts, ignore_index=True)


def _short(values: np.ndarray) -> np.ndarray:
    """Six significant digits: tables of estimates need no more, and stay small."""
    size = np.floor(np.log10(np.maximum(np.abs(values), 1e-12)))
    factor = 10.0 ** (5 - size)
    return np.round(values * factor) / factor


def _curves_table(state: _State) -> pd.DataFrame:
    rows = []
    for recorded in state.trace:
        has_margin, iteration = np.isfinite(recorded["lipschitz_norm"]), int(recorded["iteration"][0])
        for quantity, values in recorded.items():
            kept = values[has_margin] if quantity in ("lipschitz_norm", "angle", "mss_over_sss_mlc") else values
            if quantity != "iteration" and len(kept):
                rows.append((iteration, quantity, kept.mean(), kept.std(ddof=len(kept) > 1), len(kept)))
    table = pd.DataFrame(rows, columns=["iteration", "quantity", "mean", "standard_deviation", "runs"])
    return table.assign(**{name: _short(table[name].to_numpy()) for name in ("mean", "standard_deviation")})


def _tenths_table(state: _State) -> pd.DataFrame:
    runs = np.arange(len(state.theta))
    parts = []
    for tenth in np.flatnonzero(state.tenths["iterations"].all(axis=1)):
        count = state.tenths["iterations"][tenth]
        means = {name: _short(state.tenths[name][tenth] / count) for name in _SUMMED}
        audited = state.tenths["audited"][tenth]
        violations = np.full(len(runs), np.nan)
        np.divide(state.tenths["violations"][tenth], audited, out=violations, where=audited > 0)
        means["violations"] = _short(violations)
        parts.append(pd.DataFrame({"run": runs, "tenth": np.full(len(runs), tenth)} | means))
    return pd.concat(parts, ignore_index=True)


def _runs_table(state: _State) -> pd.DataFrame:
    sums, tenths, runs = state.sums, state.tenths, len(state.theta)
    never_moved, done = sums["audited"] == 0, tenths["iterations"].sum(axis=0)
    return pd.DataFrame(
        {
            "run": np.arange(runs),
            "iterations": np.full(runs, state.iteration),
            "audited": sums["audited"].astype(int),
            "mean_score": tenths["score"].sum(axis=0) / done,
            "mean_step_size": tenths["step_size"].sum(axis=0) / done,
            "smallest_surplus": np.where(never_moved, 0.0, sums["smallest_surplus"]),
            "violations": sums["violations"].astype(int),
            "stopped": sums["stopped"].astype(int),
            "reached": sums["reached"].astype(int),
            **{f"theta_{i}": state.theta[:, i] for i in range(state.theta.shape[1])},
        }
    )


# Checkpoints


def _save(file: BinaryIO, state: _State) -> None:
    arrays = {"theta": state.theta, "iteration": state.iteration}
    arrays |= {f"sums/{name}": value for name, value in state.sums.items()}
    arrays |= {f"tenths/{name}": value for name, value in state.tenths.items()}
    if state.trace:
        arrays |= {f"trace/{name}": np.stack([row[name] for row in state.trace]) for name in state.trace[0]}
    content = io.BytesIO()  # NumPy's writer seeks, which a sealed file cannot
    np.savez(content, **arrays)
    file.write(content.getvalue())


def _load(file: BinaryIO) -> _State:
    with np.load(file) as saved:
        arrays = dict(saved)
    columns = _of_kind(arrays, "trace")
    rows = len(next(iter(columns.values()), ()))
    return _State(
        theta=arrays["theta"],
        iteration=int(arrays["iteration"]),
        sums=_of_kind(arrays, "sums"),
        tenths=_of_kind(arrays, "tenths"),
        trace=[{name: value[row] for name, value in columns.items()} for row in range(rows)],
    )


@cache
def _code() -> str:
    return code_revision(sys.modules[__name__])


def _of_kind(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    prefix = f"{kind}/"
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
