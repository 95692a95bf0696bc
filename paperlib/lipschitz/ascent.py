"""Policy-gradient ascent of many runs at once, by the paper's step-size rules, and what is recorded on the way."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd

from paperlib.lipschitz.constants import MDPConstants, PolicyConstants, contraction_margin, gradient_lipschitz
from paperlib.lipschitz.policies import GaussianPolicy
from paperlib.lipschitz.step_sizes import agss, mss_mlc, sss_mlc, sss_slc

LIPSCHITZ_RULES = {"sss_slc": sss_slc, "sss_mlc": sss_mlc, "mss_mlc": mss_mlc}
RULES = (*LIPSCHITZ_RULES, "agss", "largest_guarantee")
"""`largest_guarantee` is ours: at each iteration MSS-MLC or AGSS, whichever guarantees more (as Section 7 proposes)."""

CHECKPOINT_FILE = "ascent.npz"


class Estimate(NamedTuple):
    """Of R runs: gradient of the return (R, d) and return (R,), estimated or exact."""

    gradient: np.ndarray
    score: np.ndarray


class Returns(Protocol):
    """What ascent asks of a domain. `iteration` selects the random numbers; exact domains ignore it."""

    def estimate(self, theta: np.ndarray, iteration: int) -> Estimate:
        """Gradient and return at theta (R, d)."""

    def improvement(self, theta: np.ndarray, update: np.ndarray, iteration: int) -> np.ndarray:
        """J(theta + update) - J(theta), shape (R,): exact, or by common random numbers."""


@dataclass(frozen=True)
class Problem:
    """A domain with the constants that the rules are given.

    mdp: constants of the MDP, as assumed or derived. policy: gives the policy's constants, and the bound of the
    features, the deviation and the volume of the actions that AGSS uses.
    """

    returns: Returns
    mdp: MDPConstants
    policy: GaussianPolicy


@dataclass(frozen=True)
class Step:
    """One iteration of R runs: update (R, d), step_size (R,) (2-norm over parameters for MSS-MLC), guarantee (R,),
    policy_constant L_pi (R,), margin (R,), and of runs with a positive margin the constants (R, d) of the gradient's
    components (NaN elsewhere).
    """

    update: np.ndarray
    step_size: np.ndarray
    guarantee: np.ndarray
    policy_constant: np.ndarray
    margin: np.ndarray
    lipschitz: np.ndarray


def take_step(problem: Problem, rule: str, theta: np.ndarray, gradient: np.ndarray) -> Step:
    """The step of `rule` at theta (R, d) for the gradient (R, d).

    A Lipschitz rule leaves runs without a positive contraction margin where they are: it has nothing to say there.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; choose one of {', '.join(RULES)}")
    constants = problem.policy.constants(theta)
    margin = contraction_margin(problem.mdp, constants)
    lipschitz = _gradient_lipschitz_where(margin > 0, problem.mdp, constants)
    if rule == "agss":
        chosen = _agss(problem, gradient)
    elif rule == "largest_guarantee":
        chosen = _larger(_lipschitz_step("mss_mlc", gradient, lipschitz), _agss(problem, gradient))
    else:
        chosen = _lipschitz_step(rule, gradient, lipschitz)
    return Step(*chosen, constants.state, margin, lipschitz)


def _gradient_lipschitz_where(mask: np.ndarray, mdp: MDPConstants, policy: PolicyConstants) -> np.ndarray:
    """Theorem 3's constants where the margin is positive, NaN elsewhere: shape (R, d)."""
    result = np.full(policy.score_bound.shape, np.nan)
    if mask.any():
        fields = (getattr(policy, name)[mask] for name in PolicyConstants.__dataclass_fields__)
        result[mask] = gradient_lipschitz(mdp, PolicyConstants(*fields))
    return result


class _Chosen(NamedTuple):
    update: np.ndarray
    step_size: np.ndarray
    guarantee: np.ndarray


def _lipschitz_step(rule: str, gradient: np.ndarray, lipschitz: np.ndarray) -> _Chosen:
    runs = len(gradient)
    update, size, guarantee = np.zeros_like(gradient), np.zeros(runs), np.zeros(runs)
    can = np.isfinite(lipschitz).all(axis=1)
    if can.any():
        step = LIPSCHITZ_RULES[rule](gradient[can], lipschitz[can])
        update[can], guarantee[can] = step.update, step.guaranteed_improvement
        several = rule == "mss_mlc"
        size[can] = np.linalg.norm(step.step_sizes, axis=1) if several else step.step_sizes[:, 0]
    return _Chosen(update, size, guarantee)


def _agss(problem: Problem, gradient: np.ndarray) -> _Chosen:
    policy = problem.policy
    step = agss(
        gradient,
        discount=problem.mdp.discount,
        standard_deviation=policy.standard_deviation,
        action_volume=policy.action_high - policy.action_low,
        reward_bound=problem.mdp.reward_bound,
        feature_bound=policy.largest_feature,
    )
    return _Chosen(step.update, step.step_sizes[:, 0], step.guaranteed_improvement)


def _larger(first: _Chosen, second: _Chosen) -> _Chosen:
    take_first = first.guarantee >= second.guarantee
    return _Chosen(
        np.where(take_first[:, None], first.update, second.update),
        np.where(take_first, first.step_size, second.step_size),
        np.where(take_first, first.guarantee, second.guarantee),
    )


@dataclass
class _State:
    """Where the runs are, and what was summed up over the iterations so far: arrays over runs, and the trace."""

    theta: np.ndarray
    iteration: int = 0
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    trace: list[dict[str, np.ndarray]] = field(default_factory=list)


class AscentResult(NamedTuple):
    """`trace`: a row per run and recorded iteration; `runs`: a row per run."""

    trace: pd.DataFrame
    runs: pd.DataFrame


def recorded_iterations(iterations: int, count: int) -> np.ndarray:
    """About `count` iterations from the first to the last, evenly spaced: shape (<= count,), ascending."""
    return np.unique(np.linspace(0, iterations - 1, min(count, iterations)).round().astype(int))


def ascend(
    problem: Problem,
    rule: str,
    start: np.ndarray,
    iterations: int,
    *,
    record_at: Sequence[int],
    target: Callable[[np.ndarray], np.ndarray] | None = None,
    work_folder: Path | None = None,
    save_every: int = 500,
    progress: Callable[[int], None] = lambda done: None,
) -> AscentResult:
    """`iterations` updates of all runs from parameters `start` (R, d).

    record_at: iterations of which the trace keeps every run: score, step size, L_pi, margin, guaranteed and realised
        improvement, the angle between |gradient| and the component constants, and what MSS-MLC would guarantee there
        over SSS-MLC.
    target: tells of theta (R, d) which runs are done (R,); the first such iteration is kept, and when all runs are done
        ascent ends.
    work_folder: where to save every `save_every` iterations, and to go on from.

    Summed up over all iterations of each run (table `runs`): mean score and step size, the smallest surplus of the
    realised over the guaranteed improvement, how often it was negative, the iteration at which the rule had to stop for
    want of a positive margin (-1: never), and the first iteration on target (-1: never).
    """
    state = _load(work_folder) or _State(np.array(start, dtype=float))
    state.sums = state.sums or _empty_sums(len(state.theta))
    record_at = set(map(int, record_at))
    while state.iteration < iterations:
        _note_target(state, target)
        if target is not None and (state.sums["reached"] >= 0).all():
            break
        _iterate(problem, rule, state, record=state.iteration in record_at)
        state.iteration += 1
        if work_folder is not None and state.iteration % save_every == 0:
            _save(work_folder, state)
        progress(state.iteration)
    _note_target(state, target)
    progress(iterations)
    return AscentResult(_trace_table(state), _runs_table(state))


def _empty_sums(runs: int) -> dict[str, np.ndarray]:
    zeros = {name: np.zeros(runs) for name in ("score", "step_size", "violations", "updates")}
    never = {name: np.full(runs, -1.0) for name in ("stopped", "reached")}
    return zeros | never | {"smallest_surplus": np.full(runs, np.inf)}


def _note_target(state: _State, target: Callable[[np.ndarray], np.ndarray] | None) -> None:
    if target is not None:
        first_time = target(state.theta) & (state.sums["reached"] < 0)
        state.sums["reached"][first_time] = state.iteration


def _iterate(problem: Problem, rule: str, state: _State, *, record: bool) -> None:
    gradient, score = problem.returns.estimate(state.theta, state.iteration)
    step = take_step(problem, rule, state.theta, gradient)
    realised = problem.returns.improvement(state.theta, step.update, state.iteration)
    surplus, sums, moved = realised - step.guarantee, state.sums, step.step_size > 0
    sums["score"] += score
    sums["step_size"] += step.step_size
    sums["updates"] += moved
    sums["violations"] += moved & (surplus < 0)
    sums["smallest_surplus"] = np.where(moved, np.minimum(sums["smallest_surplus"], surplus), sums["smallest_surplus"])
    stops_here = (step.margin <= 0) & (sums["stopped"] < 0) & (rule in LIPSCHITZ_RULES)
    sums["stopped"][stops_here] = state.iteration
    if record:
        state.trace.append(_trace_row(state, gradient, score, realised, step))
    state.theta = state.theta + step.update


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
        **{f"theta_{i}": state.theta[:, i] for i in range(state.theta.shape[1])},
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
    parts = [pd.DataFrame({"run": np.arange(len(state.theta)), **row}) for row in state.trace]
    table = pd.concat(parts, ignore_index=True)
    reals = table.select_dtypes("float64").columns
    return table.astype(dict.fromkeys(reals, "float32"))


def _runs_table(state: _State) -> pd.DataFrame:
    sums, done = state.sums, max(state.iteration, 1)
    never_moved = sums["updates"] == 0
    return pd.DataFrame(
        {
            "run": np.arange(len(state.theta)),
            "iterations": np.full(len(state.theta), state.iteration),
            "updates": sums["updates"].astype(int),
            "mean_score": sums["score"] / done,
            "mean_step_size": sums["step_size"] / done,
            "smallest_surplus": np.where(never_moved, 0.0, sums["smallest_surplus"]),
            "violations": sums["violations"].astype(int),
            "stopped": sums["stopped"].astype(int),
            "reached": sums["reached"].astype(int),
            **{f"theta_{i}": state.theta[:, i] for i in range(state.theta.shape[1])},
        }
    )


# Checkpoints


def _save(folder: Path, state: _State) -> None:
    """In one piece: a reader finds the old state or the new one."""
    arrays = {"theta": state.theta, "iteration": state.iteration}
    arrays |= {f"sums/{name}": value for name, value in state.sums.items()}
    if state.trace:
        arrays |= {f"trace/{name}": np.stack([row[name] for row in state.trace]) for name in state.trace[0]}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{CHECKPOINT_FILE}.partial"
    with open(temporary, "wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / CHECKPOINT_FILE)


def _load(folder: Path | None) -> _State | None:
    if folder is None or not (folder / CHECKPOINT_FILE).exists():
        return None
    with np.load(folder / CHECKPOINT_FILE) as saved:
        arrays = dict(saved)
    columns = {name.removeprefix("trace/"): value for name, value in arrays.items() if name.startswith("trace/")}
    rows = len(next(iter(columns.values()), ()))
    return _State(
        theta=arrays["theta"],
        iteration=int(arrays["iteration"]),
        sums={name.removeprefix("sums/"): value for name, value in arrays.items() if name.startswith("sums/")},
        trace=[{name: value[row] for name, value in columns.items()} for row in range(rows)],
    )
