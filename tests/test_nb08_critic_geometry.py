"""Notebook 08: the critic's geometry from recorded runs that are complete, and from print."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from made_runs import SEEDS, assert_turned, both, record, runs_of, td3, verdict

from paperlib.notebooks.nb08_critic_geometry import measures as geometry
from paperlib.notebooks.nb08_critic_geometry import surfaces
from paperlib.notebooks.nb08_critic_geometry.figures import policy_line
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
    "geometry.smoothness_goes_with.temporal_coherence": (
        lambda r: geometry.goes_with_smoothness(r, "cosine_mean"),
        runs_of({c: of | {"cosine_mean": 1 - of["smoothness"]} for c, of in GEOMETRY.items()}),
        runs_of({c: of | {"cosine_mean": of["smoothness"]} for c, of in GEOMETRY.items()}),
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


SQUARE = surfaces.Sweep((0.0, 5.0), (0.0, 5.0), None)


def test_surfaces_are_compared_as_the_claims_say():
    hill = np.add.outer(np.arange(6.0), np.zeros(6)) + 1
    jagged = hill + 3 * (np.indices((6, 6)).sum(axis=0) % 2)
    of = {"base": jagged, "caps": jagged, "grad": jagged, "asap": 5 * jagged, "pave": 0.1 * hill + 0.01 * jagged}
    measures = {m: {"height": h.mean(), "roughness": surfaces.roughness(h, SQUARE)} for m, h in of.items()}
    found = surfaces.surface_claims(measures)
    words = {claim: verdict(f"surfaces.{claim}.lunar", measured) for claim, measured in found.items()}
    assert words == {
        "pave_lowest": "holds",
        "pave_smoothest": "holds",
        "others_jagged": "holds",
        "others_alike": "does not hold",
    }  # ASAP's is five times as high
    assert surfaces.roughness(hill, SQUARE) == pytest.approx(0.0, abs=1e-12)


def test_roughness_of_a_parabola_is_its_laplacian_on_any_grid():
    sweep = surfaces.Sweep((-1.0, 1.0), (-1.5, 1.5), None)
    for points in (20, 80):
        state, action = np.meshgrid(*surfaces.axes_of(sweep, points), indexing="ij")
        assert surfaces.roughness(3 * state**2 + 0.5 * action**2, sweep) == pytest.approx(7.0)


class Wave(torch.nn.Module):
    """Q with H_sa = 2 + cos(k a), whose Laplacian along the action has mean size k^2 * 2 / pi."""

    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, states, actions):
        return (states * (2 * actions + torch.sin(self.k * actions) / self.k)).sum(dim=1)


ORIGIN = surfaces.coordinate_sweep(*(torch.zeros(1, dtype=torch.float64),) * 2, (0, 0))


def test_a_surface_is_refined_until_its_roughness_stays():
    slow, fast = (surfaces.refinement(Wave(k), ORIGIN)[0] for k in (5.0, 60.0))
    assert list(slow["points"]) == [50, 100] and slow["change"].iloc[-1] <= surfaces.CONVERGED
    assert fast["points"].iloc[-1] > 100 and fast["roughness"].iloc[-1] == pytest.approx(60.0**2 * 2 / np.pi, rel=0.05)
    assert fast["roughness"][0] < 0.8 * fast["roughness"].iloc[-1]  # 50 points are two a wave


def test_a_surface_that_no_grid_resolves_has_no_roughness_and_decides_nothing_about_it(monkeypatch):
    monkeypatch.setattr(surfaces, "GRIDS_OF_CLAIMS", (50, 100))
    measured = dict.fromkeys(METHODS, surfaces.surface_measures(Wave(60.0), ORIGIN))
    assert measured["base"]["roughness"] is None
    found = surfaces.surface_claims(measured)
    assert verdict("surfaces.pave_smoothest.lunar", found["pave_smoothest"]) == "not run at this profile"
    assert verdict("surfaces.others_jagged.lunar", found["others_jagged"]) == "not run at this profile"
    assert verdict("surfaces.pave_lowest.lunar", found["pave_lowest"]) == "holds"


def ridge(points, slope=0.3, width=0.01):
    """A ridge of one height that crosses the published window obliquely."""
    state, action = np.meshgrid(*surfaces.axes_of(ORIGIN, points), indexing="ij")
    return np.exp(-(((state - slope * action) / width) ** 2))


def test_a_thin_ridge_has_as_many_teeth_as_its_grid_has_points_and_a_resolved_wave_as_many_as_it_has_crests():
    grids = (50, 100, 200)
    thin = pd.DataFrame({"points": grids, "teeth": [surfaces.teeth(ridge(n)) for n in grids]})
    assert thin["teeth"].is_monotonic_increasing and surfaces.teeth_per_point(thin) == pytest.approx(1.0, abs=0.3)
    waves = [surfaces.teeth(np.tile(2 + np.sin(np.linspace(0, 16 * np.pi, n)), (n, 1))) for n in grids]
    assert waves == [8, 8, 8]
    assert surfaces.teeth_per_point(pd.DataFrame({"points": grids, "teeth": waves})) == pytest.approx(0.0)


def test_the_width_of_a_ridge_is_that_at_half_of_its_height():
    found = surfaces.ridge_width(ridge(801, width=0.05), ORIGIN)
    assert found == pytest.approx(2 * 0.05 * np.sqrt(np.log(2)), abs=2 * 2 / 800)


def test_an_angle_is_swept_over_states_of_pendulum_and_allowed_actions():
    sweep = surfaces.angle_sweep(-0.3)
    states, actions = sweep.at(torch.tensor([[0.5, -1.0], [-1.0, 1.0]], dtype=torch.float64))
    assert states[:, :2].square().sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert torch.atan2(states[:, 1], states[:, 0]).tolist() == pytest.approx([0.5, -1.0])
    assert states[:, 2].tolist() == [-0.3, -0.3] and actions.tolist() == [[-1.0], [1.0]]


def test_the_policy_is_drawn_where_its_action_lies_in_the_window():
    sweep = surfaces.angle_sweep(0.0)
    steep = SimpleNamespace(act=lambda states: 3 * states[:, 1:2])  # 3 sin of the angle
    places, actions = policy_line(steep, sweep, points=201)
    inside = np.abs(3 * np.sin(places)) <= 1
    assert actions[inside] == pytest.approx(3 * np.sin(places[inside]), abs=1e-6) and np.isnan(actions[~inside]).all()


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
    measured = surfaces.surfaces_of(with_surfaces(METHODS), "pendulum")
    assert set(measured) == set(METHODS) and len({of["height"] for of in measured.values()}) == 1
    with pytest.raises(NotRecorded, match="pave with its networks"):
        surfaces.surfaces_of(with_surfaces(METHODS[:-1]), "pendulum")
