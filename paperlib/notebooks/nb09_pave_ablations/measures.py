"""What notebook 09 measures: which loss does what, other critic regularisers, CAPS with PAVE, observation noise.

Measures take recorded runs, or scores by cell, which are recorded or printed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import torch

from paperlib.notebooks.shared.scores import Scores, difference, of_cells, over_runs, ratio
from paperlib.pave.engine.checkpoints import TrainedNetworks
from paperlib.pave.engine.evaluation import episode_table, play_episodes
from paperlib.pave.records.scores import RecordedRuns, where_recorded

WITHOUT_CURV = ("mpr", "vfc", "mpr_vfc")
CONFIGURATIONS = ("base", "mpr", "vfc", "mpr_vfc", "curv", "mpr_curv", "vfc_curv", "pave")
LOSSES = ("mpr", "vfc", "curv")
WALKER, LUNAR = ("walker", "td3"), ("lunar", "td3")
CRITIC_SIDE = ("sn_critic", "gp_critic")
CRITIC_SIDE_ENVIRONMENTS = ("lunar", "walker")
GEOMETRY = ("mixed_hessian_sup", "negative_definite_rate")


# Table (d): the factorial


def all_three_smoothest(runs: RecordedRuns) -> dict[str, dict[str, float] | None]:
    """Probability that the score with all three is below the other combination's."""
    others = [m for m in CONFIGURATIONS if m != "pave"]
    return where_recorded(others, lambda m: runs.below(*WALKER, "pave", m, "smoothness"))


def without_curv_over_base(smoothness: Scores) -> dict[str, float | None]:
    """Mean smoothness score over Base's of the combinations without Curv."""
    return where_recorded(WITHOUT_CURV, lambda m: ratio(smoothness, "walker", m, "base"))


def effect(scores: Scores, losses: Sequence[str]) -> dict[str, float] | float:
    """The effect of losses together on Walker2d, see `contrast`: {mean, low, high} over runs, or as printed."""
    found = of_cells(scores, [("walker", m) for m in CONFIGURATIONS])
    return over_runs(contrast(dict(zip(CONFIGURATIONS, found, strict=True)), losses))


def contrast(scores: Mapping[str, np.ndarray | float], losses: Sequence[str]) -> np.ndarray | float:
    """The effect of losses together on scores by configuration: the mean score of the configurations where the product
    of the losses' signs (+1 with a loss, -1 without) is positive, minus that of the others.
    """
    signs = {m: {loss: 1 if m == "pave" or loss in m.split("_") else -1 for loss in LOSSES} for m in CONFIGURATIONS}
    return sum(np.prod([signs[m][loss] for loss in losses]) * scores[m] for m in CONFIGURATIONS) / 4


def effects(scores: Mapping[str, np.ndarray | float]) -> pd.DataFrame:
    """Main effects and interactions of the losses on a score by configuration, over runs (seeds,) or as printed.

    Columns effect, mean, low, high (95 % over runs; NaN of a printed score, which has no interval); see `contrast`.
    """
    rows = []
    for chosen in range(1, 8):
        losses = [loss for k, loss in enumerate(LOSSES) if chosen >> k & 1]
        found = over_runs(contrast(scores, losses))
        interval = found if isinstance(found, dict) else {"mean": found, "low": np.nan, "high": np.nan}
        rows.append({"effect": " x ".join(_NAMES[loss] for loss in losses)} | interval)
    return pd.DataFrame(rows)


_NAMES = {"mpr": "MPR", "vfc": "VFC", "curv": "Curv"}


def factorials(runs: RecordedRuns, printed: Scores, measure: str) -> dict[str, dict[str, np.ndarray | float]]:
    """Scores by configuration: as printed of Walker2d, and of each environment where all eight are recorded."""
    found = {"printed": {m: printed["walker", m] for m in CONFIGURATIONS}}
    for environment in ("walker", "pendulum"):
        if all(runs.has(environment, "td3", m) for m in CONFIGURATIONS):
            found[environment] = {m: runs.scores(environment, "td3", m, measure) for m in CONFIGURATIONS}
    return found


# Table (c): other ways to regularise a critic


def flatter_than_base(runs: RecordedRuns) -> dict[str, dict[str, float] | None]:
    """Probability that a run's median |lambda_max(H_aa)| is below one of Base's, per method and environment."""
    cells = {f"{m}, {cell[0]}": (*cell, m) for cell in (LUNAR, WALKER) for m in CRITIC_SIDE}
    return where_recorded(cells, lambda case: runs.below(*cells[case], "base", "curvature_size_median"))


def over_base(scores: Scores, method: str) -> dict[str, float | None]:
    """Mean over Base's, per environment."""
    return where_recorded(CRITIC_SIDE_ENVIRONMENTS, lambda e: ratio(scores, e, method, "base"))


def minus_base(scores: Scores, method: str) -> dict[str, float | None]:
    """Mean minus Base's, per environment."""
    return where_recorded(CRITIC_SIDE_ENVIRONMENTS, lambda e: difference(scores, e, method, "base"))


def flattened_by_sn(scores: Mapping[str, Scores]) -> dict[str, float | None]:
    """SN-Critic's mean M_sup and mean median |lambda_max(H_aa)| over Base's, per environment; scores by measure."""
    measures = ("mixed_hessian_sup", "curvature_size_median")
    cells = {f"{q}, {e}": (scores[q], e, "sn_critic", "base") for q in measures for e in CRITIC_SIDE_ENVIRONMENTS}
    return where_recorded(cells, lambda case: ratio(*cells[case]))


def spread_of_actions(runs: RecordedRuns, method: str = "sn_critic") -> dict[str, float | None]:
    """Standard deviation of the action over visited states over half the action range, of the dimension where it is
    largest, mean over runs, per environment.
    """
    cells = {cell[0]: (*cell, method) for cell in (LUNAR, WALKER)}
    return where_recorded(
        cells, lambda environment: float(runs.scores(*cells[environment], "action_sd_largest").mean())
    )


# Table (e): CAPS with PAVE


def change_by_caps(scores: Mapping[str, Scores]) -> dict[str, float]:
    """|mean of CAPS + PAVE - mean of PAVE| / |mean of PAVE| on LunarLander, per measure."""
    return {measure: abs(ratio(of, "lunar", "caps_pave", "pave") - 1) for measure, of in scores.items()}


# Sweeps of one coefficient

SEARCH_ORDER = ("curv", "vfc", "mpr")  # the most sensitive first


def out_of_order(runs: RecordedRuns, methods: Sequence[str]) -> dict[str, int | None]:
    """Neighbours in the search order whose later weight changes the mean smoothness score by the larger factor.

    methods: those of the sweeps, named coefficient=value. By environment.
    """
    cells = {cell[0]: cell for cell in (LUNAR, WALKER)}

    def failures(environment: str) -> int:
        cell = cells[environment]
        runs.require((*cell, m) for m in methods)
        means = {m: runs.scores(*cell, m, "smoothness").mean() for m in methods}
        swept = [[mean for m, mean in means.items() if m.split("=")[0] == name] for name in SEARCH_ORDER]
        factors = [max(values) / min(values) for values in swept]
        return sum(later > earlier for earlier, later in pairwise(factors))

    return where_recorded(cells, failures)


# Observation noise

NOISE_SIZES = (0.0, 0.01, 0.05, 0.1)


def under_observation_noise(
    networks: Mapping[str, TrainedNetworks], environment: str, episodes: int, seed: int = 0
) -> pd.DataFrame:
    """Return and smoothness of policies that see s + U(-k, k) std(s under Base): rows by method, k and episode.

    change: of the return against that of Base without noise from the same start.
    """
    starts = [range(1000, 1000 + episodes)]
    calm = play_episodes(networks["base"].act, environment, starts, backend="gymnasium")[0]
    spread = torch.as_tensor(np.concatenate([e.observations for e in calm]).std(axis=0), dtype=torch.float32)
    parts = []
    for method, of in networks.items():
        for size in NOISE_SIZES:
            act = _noisy(of.act, size * spread, seed)
            played = play_episodes(act, environment, starts, backend="gymnasium")[0]
            change = [float((e.rewards - c.rewards).sum()) for e, c in zip(played, calm, strict=True)]
            parts.append(episode_table(played).assign(method=method, noise=size, change=change))
    return pd.concat(parts, ignore_index=True)


def _noisy(act: Callable[[torch.Tensor], torch.Tensor], scale: torch.Tensor, seed: int):
    generator = torch.Generator().manual_seed(seed)

    def with_noise(states: torch.Tensor) -> torch.Tensor:
        return act(states + scale * (2 * torch.rand(states.shape, generator=generator) - 1))

    return with_noise
