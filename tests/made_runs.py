"""Recorded runs made up for tests of notebooks 07 to 09: as printed, or otherwise on purpose."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from paperlib.notebooks.shared.scores import RecordedScores
from paperlib.pave.engine.evaluation import UNDEFINED
from paperlib.pave.records import printed_tables
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.scores import FROM_POLICY, NotRecorded, RecordedRuns
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
SEEDS = (1, 2, 3, 4, 5)
NONE_RECORDED = RecordedRuns({}, SEEDS)
PRINTED = printed_tables.return_and_smoothness()


def td3(runs, measure):
    """Scores by environment and method."""
    return RecordedScores(runs, "td3", measure)


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"pave.{claim}"], measured, corrected, "", "smoke").verdict


def printed_value(algorithm, environment, method, measure, kind="mean"):
    table = PRINTED[(PRINTED["algorithm"] == algorithm) & (PRINTED["environment"] == environment)]
    return float(table.set_index("method").loc[method, f"{measure}_{kind}"])


GEOMETRY_COLUMNS = (
    *("mixed_hessian_sup", "negative_definite_rate", "cosine_mean", "flip_rate", "curvature_median"),
    *("curvature_size_median", "pointwise_bound_median", "condition_number_median", "implicit_jacobian_median"),
)


def record(seed, *, steps=(), spread=0.01, **values):
    """A run whose measures are those given, a little apart by seed; episodes spread around the return."""
    jitter, of_episodes = spread * (seed - 3) / 2, values.pop("spread_of_episodes", 70.0)
    values = {name: value if value == UNDEFINED else value * (1 + jitter) for name, value in values.items()}
    episodes = pd.DataFrame({"return": np.linspace(-1, 1, 10) * of_episodes + values.get("return", 0.0)}).assign(
        smoothness=np.linspace(0.5, 1.5, 10) * values.get("smoothness", 0.0)
    )
    geometry_row = {name: values.get(name, 0.0) for name in GEOMETRY_COLUMNS}
    policy = pd.DataFrame([{name: values.get(name, 0.0) for name in FROM_POLICY}])
    evaluations = pd.DataFrame([{"step": step, **geometry_row} for step in steps])
    frames = {
        "episodes": episodes,
        "geometry": pd.DataFrame([{"action_units": u, **geometry_row} for u in ("scaled", "environment")]),
        "evaluations": evaluations,
        "policy": policy,
    }
    return SimpleNamespace(table=frames.__getitem__, contents={})


def runs_of(values):
    """RecordedRuns from {(environment, algorithm, method): measures}."""
    return RecordedRuns(
        {(*cell, seed): record(seed, **measures) for cell, measures in values.items() for seed in SEEDS}, SEEDS
    )


def both(name, **values):
    """Base and PAVE in every environment with TD3, with one measure each."""
    return runs_of({(e, "td3", m): {name: value} for e in ENVIRONMENTS for m, value in values.items()})


AS_PRINTED = {
    (e, a, m): {measure: printed_value(a, e, m, measure) for measure in ("return", "smoothness")}
    | {"spread_of_episodes": printed_value(a, e, m, "return", "std")}
    for e in ENVIRONMENTS
    for a in ("td3", "sac")
    for m in METHODS
}


def changed(cells, **measures):
    """The printed cells with some measures scaled."""
    return {
        cell: {name: value * measures.get(name, 1.0) for name, value in of.items()} if cell in cells else of
        for cell, of in AS_PRINTED.items()
    }


ALL = runs_of(AS_PRINTED)
OF_PAVE = [cell for cell in AS_PRINTED if cell[2] == "pave"]
ROUGH_PAVE = runs_of(changed(OF_PAVE, smoothness=10.0))


def assert_turned(claim, measure, right, wrong):
    """The verdict holds for runs as they should be, not for others, and needs runs."""
    assert verdict(claim, measure(right)) == "holds"
    assert verdict(claim, measure(wrong)) == "does not hold"
    with pytest.raises(NotRecorded):
        measure(NONE_RECORDED)
