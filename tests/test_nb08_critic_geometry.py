"""Notebook 08: the critic's geometry from recorded runs that are complete, and from print."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import SEEDS, assert_turned, both, record, runs_of, td3, verdict

from paperlib.notebooks.nb08_critic_geometry import measures as geometry
from paperlib.notebooks.shared.scores import RecordedDuringTraining, beside_print, over_lowest, ratio
from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_to_bytes
from paperlib.pave.engine.evaluation import UNDEFINED
from paperlib.pave.records import printed_tables
from paperlib.pave.records.printed_tables import METHODS
from paperlib.pave.records.scores import NotRecorded, RecordedRuns

MEASURES = ("mixed_hessian_sup", "negative_definite_rate")
TABLE_A = {q: printed_tables.values(printed_tables.critic_geometry(), q) for q in MEASURES}
TABLE_B = printed_tables.gradient_cosine()
TABLE_F = printed_tables.geometry_during_training()
GEOMETRY = {
    (row.environment, "td3", row.method): {
        "mixed_hessian_sup": row.mixed_hessian_sup,
        "negative_definite_rate": np.nan_to_num(row.negative_definite_rate, nan=0.3),
        "smoothness": row.mixed_hessian_sup / 1e4,
    }
    for row in printed_tables.critic_geometry().itertuples()
}
for row in TABLE_B.itertuples():
    GEOMETRY[row.environment, "td3", row.method] |= {"cosine_mean": row.cosine_mean, "flip_rate": row.flip_rate}
WITH_GEOMETRY = runs_of(GEOMETRY)


def flat(cells, name, value):
    """The printed geometry with one measure replaced in some cells."""
    return runs_of({cell: of | ({name: value} if cell[2] in cells else {}) for cell, of in GEOMETRY.items()})


MUTATIONS = {
    "geometry.lowest_mixed_hessian.walker": (
        lambda r: over_lowest(td3(r, "mixed_hessian_sup"), "walker"),
        WITH_GEOMETRY,
        flat({"pave"}, "mixed_hessian_sup", 1e6),
    ),
    "geometry.mixed_hessian_factor.lunar": (
        lambda r: ratio(td3(r, "mixed_hessian_sup"), "lunar", "base", "pave"),
        WITH_GEOMETRY,
        flat({"pave"}, "mixed_hessian_sup", 1.0),
    ),
    "geometry.dictates_policy.lunar": (
        lambda r: geometry.correlation_with_smoothness(r, "lunar"),
        WITH_GEOMETRY,
        runs_of({c: of | {"smoothness": -of["smoothness"]} for c, of in GEOMETRY.items()}),
    ),
    "geometry.smoothness_goes_with.mixed_hessian": (
        lambda r: geometry.goes_with_smoothness(r, "mixed_hessian_sup"),
        WITH_GEOMETRY,
        runs_of({c: of | {"smoothness": -of["smoothness"]} for c, of in GEOMETRY.items()}),
    ),
    "geometry.pave_mostly_concave.ant": (
        lambda r: geometry.mean_of(td3(r, "negative_definite_rate"), "ant", "pave"),
        WITH_GEOMETRY,
        flat({"pave"}, "negative_definite_rate", 0.2),
    ),
    "geometry.actor_side_unchanged.lunar": (
        lambda r: geometry.actor_side_over_base(td3(r, "mixed_hessian_sup"), "lunar"),
        WITH_GEOMETRY,
        flat({"asap"}, "mixed_hessian_sup", 1.0),
    ),
    "geometry.asap_hopper_worse": (
        lambda r: ratio(td3(r, "mixed_hessian_sup"), "hopper", "asap", "base"),
        WITH_GEOMETRY,
        flat({"asap"}, "mixed_hessian_sup", 1.0),
    ),
    "geometry.flip_reduction.lunar": (
        lambda r: ratio(td3(r, "flip_rate"), "lunar", "pave", "base"),
        WITH_GEOMETRY,
        flat({"base"}, "flip_rate", 0.001),
    ),
    "geometry.well_conditioned.ant": (
        lambda r: r.below("ant", "td3", "pave", "base", "condition_number_median"),
        both("condition_number_median", base=9.0, pave=2.0),
        both("condition_number_median", base=2.0, pave=9.0),
    ),
    "table_a.hopper": (
        lambda r: beside_print({q: td3(r, q) for q in TABLE_A}, TABLE_A, "hopper"),
        WITH_GEOMETRY,
        flat(set(METHODS), "mixed_hessian_sup", 1.0),
    ),
    "geometry.pointwise_bound_lower.ant": (
        lambda r: r.below("ant", "td3", "pave", "base", "pointwise_bound_median"),
        both("pointwise_bound_median", base=900.0, pave=30.0),
        both("pointwise_bound_median", base=30.0, pave=900.0),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_runs_that_behave_otherwise_turn_the_verdict(claim):
    assert_turned(claim, *MUTATIONS[claim])


def test_a_bound_that_exists_at_no_visited_state_is_above_every_other():
    nowhere = both("pointwise_bound_median", base=UNDEFINED, pave=1e9)
    assert nowhere.below("ant", "td3", "pave", "base", "pointwise_bound_median")["probability"] == 1.0


def test_checkpoints_are_read_at_the_printed_steps():
    steps = geometry.printed_steps(TABLE_F)
    cells = {}
    for environment, of in steps.items():
        for method in ("base", "pave"):
            for seed in SEEDS:
                made = record(seed, steps=of, mixed_hessian_sup=500.0, negative_definite_rate=0.5)
                cells[environment, "td3", method, seed] = made
    M, rate = (RecordedDuringTraining(RecordedRuns(cells, SEEDS), "td3", q) for q in MEASURES)
    assert set(geometry.base_over_pave(M, steps, "walker").values()) == {1.0}
    assert geometry.growth(M, steps, "pave", "lunar") == pytest.approx(1.0)
    assert geometry.falls(rate, steps) == {"cases": 4, "failures": 0}
    printed = {q: printed_tables.values(TABLE_F, q, keys=("environment", "method", "step")) for q in MEASURES}
    ours = {"mixed_hessian_sup": M, "negative_definite_rate": rate}
    assert verdict("table_f.lunar", beside_print(ours, printed, "lunar")) == "does not hold"
    elsewhere = RecordedRuns({cell: record(cell[3], steps=[1]) for cell in cells}, SEEDS)
    with pytest.raises(NotRecorded, match="at step"):
        geometry.growth(RecordedDuringTraining(elsewhere, "td3", "mixed_hessian_sup"), steps, "pave", "lunar")


def test_steps_between_which_a_rate_falls_are_failures():
    rate = {("a", "pave", 1): 0.1, ("a", "pave", 2): 0.3, ("b", "pave", 1): 0.5, ("b", "pave", 9): 0.4}
    assert geometry.falls(rate, {"a": [1, 2], "b": [1, 9]}) == {"cases": 2, "failures": 1}


def test_surfaces_are_compared_as_the_claims_say():
    hill = np.add.outer(np.arange(6.0), np.zeros(6)) + 1
    jagged = hill + 3 * (np.indices((6, 6)).sum(axis=0) % 2)
    of = {"base": jagged, "caps": jagged, "grad": jagged, "asap": 5 * jagged, "pave": 0.1 * hill + 0.01 * jagged}
    measures = {m: {"height": height.mean(), "roughness": geometry.roughness(height)} for m, height in of.items()}
    found = geometry.surface_claims(measures)
    words = {claim: verdict(f"surfaces.{claim}.lunar", measured) for claim, measured in found.items()}
    assert words == {
        "pave_lowest": "holds",
        "pave_smoothest": "holds",
        "others_jagged": "holds",
        "others_alike": "does not hold",
    }  # ASAP's is five times as high
    assert geometry.roughness(hill) == pytest.approx(0.0, abs=1e-12)


def test_roughness_of_a_parabola_is_its_laplacian_on_any_grid():
    for points in (20, 80):
        state, action = np.meshgrid(np.linspace(-1, 1, points), np.linspace(-1.5, 1.5, points), indexing="ij")
        assert geometry.roughness(3 * state**2 + 0.5 * action**2) == pytest.approx(7.0)


class Wave(torch.nn.Module):
    """Q with H_sa = 2 + cos(k a), whose Laplacian along the action has mean size k^2 * 2 / pi."""

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, states, actions):
        return (states * (2 * actions + torch.sin(self.k * actions) / self.k)).sum(dim=1)


def test_a_surface_is_refined_until_its_roughness_stays():
    at = torch.zeros(1, dtype=torch.float64)
    slow, fast = (geometry.surface_measures(Wave(k), at, at, (0, 0)) for k in (5.0, 60.0))
    assert slow["points"] == 100 and slow["roughness"] == pytest.approx(slow["published_roughness"], rel=0.05)
    assert fast["points"] > 100 and fast["roughness"] == pytest.approx(60.0**2 * 2 / np.pi, rel=0.05)
    assert fast["published_roughness"] < 0.8 * fast["roughness"]  # 50 points are two a wave


def with_surfaces(methods):
    """First-seed records of Pendulum with a critic, and Base's point."""
    critic = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
    description = {"environment": "pendulum", "algorithm": "td3"}
    point = pd.DataFrame({"of": ["state"] * 3 + ["action"], "coordinate": [0, 1, 2, 0], "value": [1.0, 0, 0, 0.5]})
    cells = {}
    for method in methods:
        content = networks_to_bytes(TrainedNetworks(None, (critic,), 1, description))
        made = SimpleNamespace(
            table={"point": point}.__getitem__, contents={"networks.pt": 0}, file=lambda _, c=content: c
        )
        cells |= {("pendulum", "td3", method, seed): made for seed in SEEDS}
    return RecordedRuns(cells, SEEDS)


def test_surfaces_of_all_methods_are_drawn_from_records_around_the_point_of_base():
    measured = geometry.surfaces_of(with_surfaces(METHODS), "pendulum")
    assert set(measured) == set(METHODS) and len({of["height"] for of in measured.values()}) == 1
    with pytest.raises(NotRecorded, match="pave with its networks"):
        geometry.surfaces_of(with_surfaces(METHODS[:-1]), "pendulum")
