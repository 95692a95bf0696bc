"""GPOMDP with the variance-optimal component-wise baseline (Peters and Schaal, 2008), from anybody's episodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BASELINES = ("none", "own", "leave_one_out")
"""What is subtracted from rewards: nothing, the variance-optimal baseline of all episodes (which biases the estimate),
or for each episode that of the others (which does not).
"""


class Estimate(NamedTuple):
    """Gradient of the return (..., d) and return (...), estimated or exact."""

    gradient: np.ndarray
    score: np.ndarray


def gpomdp(rewards: ArrayLike, scores: ArrayLike, discount: float, *, baseline: str = "leave_one_out") -> Estimate:
    """The gradient and the return of T steps, from E independent episodes.

    sum_t gamma^t E[(r_t - b_t) sum_{k <= t} grad log pi(a_k|s_k)], component by component. With S the running sum of
    scores of a component, the baseline is b_t = E[S^2 r_t] / E[S^2] over all episodes ("own"), or for each episode over
    the others ("leave_one_out"); zero where S is zero in all of these.

    rewards: r_t, shape (..., E, T). scores: grad log pi(a_t|s_t), shape (..., E, T, d), as `GaussianPolicy.score` gives
    them. discount: gamma. baseline: one of BASELINES. ValueError on an unknown one, other shapes, numbers that are not
    finite, or a discount outside [0, 1).
    """
    rewards, scores = np.asarray(rewards, dtype=float), np.asarray(scores, dtype=float)
    if rewards.ndim < 2 or scores.shape[:-1] != rewards.shape:
        raise ValueError(f"rewards must be (..., E, T) and scores (..., E, T, d), are {rewards.shape}, {scores.shape}")
    if not (np.isfinite(rewards).all() and np.isfinite(scores).all()):
        raise ValueError("rewards and scores must be finite")
    if not 0 <= discount < 1:
        raise ValueError(f"discount is {discount}, must lie in [0, 1)")
    if baseline not in BASELINES:
        raise ValueError(f"unknown baseline {baseline!r}; one of {', '.join(BASELINES)}")
    weights = discount ** np.arange(rewards.shape[-1])
    sums = np.cumsum(scores, axis=-2)
    by_step = [
        weight * covariance(np.moveaxis(sums[..., t, :], -1, -2), rewards[..., None, :, t], baseline)
        for t, weight in enumerate(weights)
    ]
    return Estimate(np.sum(by_step, axis=0), (rewards @ weights).mean(axis=-1))


def covariance(total: np.ndarray, reward: np.ndarray, baseline: str) -> np.ndarray:
    """E[S (r - b)] over episodes, the last axis, of running sums of scores and rewards."""
    product = np.einsum("...e,...e->...", total, reward)
    if baseline != "none":
        squared = total * total
        weighted, size = (x.sum(axis=-1, keepdims=True) for x in (squared * reward, squared))
        if baseline == "leave_one_out":
            weighted, size = weighted - squared * reward, size - squared
        best = np.divide(weighted, size, out=np.zeros_like(size), where=size > 0)
        product -= (best * total).sum(axis=-1)
    return product / reward.shape[-1]
