"""Recorded runs, notebooks 07-09: what is measured where cells are complete, what is said where they are not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from paperlib.notebooks.nb07_return_and_smoothness import measures as tables
from paperlib.notebooks.nb08_critic_geometry import measures as geometry
from paperlib.notebooks.nb09_pave_ablations import measures as ablation
from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_to_bytes
from paperlib.pave.engine.evaluation import UNDEFINED
from paperlib.pave.records import printed_tables
from paperlib.pave.records.printed_tables import ENVIRONMENTS, METHODS
from paperlib.pave.records.runs import FROM_POLICY, NotRecorded, RecordedRuns, decide
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
SEEDS = (1, 2, 3, 4, 5)
PRINTED = printed_tables.return_and_smoothness()
TABLE_A, TABLE_B = printed_tables.critic_geometry(), printed_tables.gradient_cosine()
TABLE_D, TABLE_E = printed_tables.ablation(), printed_tables.actor_side_combination()
TABLE_C = printed_tables.critic_side_baselines()
TABLE_F = printed_tables.geometry_during_training()


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


def test_a_cell_counts_with_all_its_seeds_and_what_is_missing_is_named():
    some = RecordedRuns({("ant", "td3", "base", seed): record(seed) for seed in SEEDS[:4]}, SEEDS)
    assert not some.has("ant", "td3", "base") and ALL.has("ant", "td3", "base")
    with pytest.raises(NotRecorded, match="not run at this budget: ant td3 base, walker sac pave"):
        some.require([("walker", "sac", "pave"), ("ant", "td3", "base")])
    assert some.evaluations().empty


def test_a_claim_without_its_runs_gets_the_missing_cells_and_with_them_a_verdict():
    said = []
    notebook = SimpleNamespace(
        not_run=lambda claim, reason: said.append((claim, reason)) or "not run",
        verdict=lambda claim, measured, artefact, **rest: said.append((claim, measured, rest)) or "decided",
    )
    empty = RecordedRuns({}, SEEDS)
    measure = lambda runs: tables.best_of_all(runs, "walker", "td3", "return")  # noqa: E731
    assert decide(notebook, "c", "f", lambda: measure(empty)) == "not run" and "walker td3 pave" in said[-1][1]
    assert decide(notebook, "c", "f", lambda: measure(ALL)) == "decided" and set(said[-1][1]) == set(METHODS) - {"pave"}
    assert decide(notebook, "c", "f", lambda: 1, lambda: measure(empty)) == "not run"
    assert decide(notebook, "c", "f", lambda: 1, lambda: 2) == "decided" and said[-1][2] == {"corrected": 2}


FACTORIAL = {
    ("walker", "td3", ablation.key(row.configuration)): {
        "return": row.return_mean,
        "smoothness": row.smoothness_mean,
        "flip_rate": 0.1,
    }
    for row in TABLE_D.itertuples()
}
GEOMETRY = {
    (row.environment, "td3", row.method): {
        "mixed_hessian_sup": row.mixed_hessian_sup,
        "negative_definite_rate": np.nan_to_num(row.negative_definite_rate, nan=0.3),
        "smoothness": row.mixed_hessian_sup / 1e4,
    }
    for row in TABLE_A.itertuples()
}
for row in TABLE_B.itertuples():
    GEOMETRY[row.environment, "td3", row.method] |= {"cosine_mean": row.cosine_mean, "flip_rate": row.flip_rate}
WITH_GEOMETRY = runs_of(GEOMETRY)


def flat(cells, name, value):
    """The printed geometry with one measure replaced in some cells."""
    return runs_of({cell: of | ({name: value} if cell[2] in cells else {}) for cell, of in GEOMETRY.items()})


SWEEPS = ("mpr=0.1", "mpr=1", "vfc=0.1", "vfc=1", "curv=0.1", "curv=1", "delta=1", "delta=2")


def swept(slopes):
    """Sweeps in which a coefficient's score is its value times its slope, plus one."""
    coefficient_and_value = {m: m.split("=") for m in SWEEPS}
    scores = {m: 1 + slopes.get(name, 9.0) * float(value) for m, (name, value) in coefficient_and_value.items()}
    return runs_of({(e, "td3", m): {"smoothness": score} for e in ("lunar", "walker") for m, score in scores.items()})


def both(name, **values):
    """Base and PAVE in every environment with TD3, with one measure each."""
    return runs_of({(e, "td3", m): {name: value} for e in ENVIRONMENTS for m, value in values.items()})


def critic_side(name, **values):
    """Critic-side methods on LunarLander and Walker2d with one measure each; M_sup of SN-Critic is next to nothing."""
    steep = {"sn_critic": 1e-3}
    return runs_of(
        {
            (e, "td3", m): {"mixed_hessian_sup": steep.get(m, 1.0), name: value}
            for e in ("lunar", "walker")
            for m, value in values.items()
        }
    )


MUTATIONS = {
    "table1.td3_return.walker": (
        lambda r: tables.cell_means(r, PRINTED, "td3", "return", "walker"),
        ALL,
        runs_of(changed([("walker", "td3", m) for m in METHODS], **{"return": 1.3})),
    ),
    "table2.sac_smoothness.ant": (
        lambda r: tables.cell_means(r, PRINTED, "sac", "smoothness", "ant"),
        ALL,
        runs_of(changed([("ant", "sac", m) for m in METHODS], smoothness=0.5)),
    ),
    "td3.return_kept.walker": (
        lambda r: tables.return_change(r, "walker", "td3"),
        ALL,
        runs_of(changed(OF_PAVE, **{"return": 0.5})),
    ),
    "td3.smoother_than_base.ant": (
        lambda r: r.below("ant", "td3", "pave", "base", "smoothness"),
        ALL,
        ROUGH_PAVE,
    ),
    "td3.walker_best_return": (
        lambda r: tables.best_of_all(r, "walker", "td3", "return"),
        ALL,
        runs_of(changed(OF_PAVE, **{"return": 0.5})),
    ),
    "td3.walker_smoothest": (lambda r: tables.best_of_all(r, "walker", "td3", "smoothness"), ALL, ROUGH_PAVE),
    "tables.smoothness_wins.td3_hopper": (
        lambda r: r.over_lowest("hopper", "td3", "pave", tables.others("pave"), "smoothness"),
        ALL,
        ROUGH_PAVE,
    ),
    "sac.reacher_actor_side_as_smooth": (
        lambda r: tables.actor_side_over_pave(r, "reacher", "sac"),
        ALL,
        runs_of(changed(OF_PAVE, smoothness=0.1)),
    ),
    "sac.pendulum_smoothest": (lambda r: tables.best_of_all(r, "pendulum", "sac", "smoothness"), ALL, ROUGH_PAVE),
    "sac.ant_grad_highest_return": (
        lambda r: tables.best_of_all(r, "ant", "sac", "return", "grad"),
        runs_of(changed([("ant", "sac", "grad")], **{"return": 2.0})),
        runs_of(changed(OF_PAVE, **{"return": 2.0})),
    ),
    "geometry.lowest_mixed_hessian.walker": (
        lambda r: geometry.over_lowest(r, "walker"),
        WITH_GEOMETRY,
        flat({"pave"}, "mixed_hessian_sup", 1e6),
    ),
    "geometry.mixed_hessian_factor.lunar": (
        lambda r: r.ratio("lunar", "td3", "base", "pave", "mixed_hessian_sup"),
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
        lambda r: geometry.rate(r, "ant", "pave"),
        WITH_GEOMETRY,
        flat({"pave"}, "negative_definite_rate", 0.2),
    ),
    "geometry.actor_side_unchanged.lunar": (
        lambda r: geometry.actor_side_over_base(r, "lunar"),
        WITH_GEOMETRY,
        flat({"asap"}, "mixed_hessian_sup", 1.0),
    ),
    "geometry.asap_hopper_worse": (
        lambda r: r.ratio("hopper", "td3", "asap", "base", "mixed_hessian_sup"),
        WITH_GEOMETRY,
        flat({"asap"}, "mixed_hessian_sup", 1.0),
    ),
    "geometry.flip_reduction.lunar": (
        lambda r: r.ratio("lunar", "td3", "pave", "base", "flip_rate"),
        WITH_GEOMETRY,
        flat({"base"}, "flip_rate", 0.001),
    ),
    "geometry.well_conditioned.ant": (
        lambda r: r.below("ant", "td3", "pave", "base", "condition_number_median"),
        both("condition_number_median", base=9.0, pave=2.0),
        both("condition_number_median", base=2.0, pave=9.0),
    ),
    "table_a.hopper": (
        lambda r: geometry.cell_means(r, TABLE_A, "hopper", ("mixed_hessian_sup", "negative_definite_rate")),
        WITH_GEOMETRY,
        flat(set(METHODS), "mixed_hessian_sup", 1.0),
    ),
    "table_d.return": (
        lambda r: ablation.factorial_means(r, TABLE_D, "return"),
        runs_of(FACTORIAL),
        runs_of({c: of | {"return": 1.0} for c, of in FACTORIAL.items()}),
    ),
    "ablation.without_curv_less_smooth": (
        ablation.less_smooth_without_curv,
        runs_of(FACTORIAL),
        runs_of({c: of | {"smoothness": 1.0 + (c[2] == "base")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.all_three_smoothest": (
        ablation.all_three_smoothest,
        runs_of(FACTORIAL),
        runs_of({c: of | {"smoothness": 1.0 + (c[2] == "pave")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.vfc_fewer_flips": (
        ablation.fewer_flips_with_vfc,
        runs_of({c: of | {"flip_rate": 0.1 + (c[2] == "base")} for c, of in FACTORIAL.items()}),
        runs_of({c: of | {"flip_rate": 0.1 + (c[2] == "vfc")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.three_way_synergy": (
        ablation.three_way_synergy,
        runs_of(FACTORIAL),
        runs_of({c: of | {"smoothness": 1.0 + (c[2] == "pave")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.curv_reduces_sensitivity": (
        lambda r: r.below(*ablation.WALKER, "curv", "base", "actor_jacobian_median"),
        runs_of({c: of | {"actor_jacobian_median": 1.0 + (c[2] == "base")} for c, of in FACTORIAL.items()}),
        runs_of({c: of | {"actor_jacobian_median": 1.0 + (c[2] == "curv")} for c, of in FACTORIAL.items()}),
    ),
    "geometry.pointwise_bound_lower.ant": (
        lambda r: r.below("ant", "td3", "pave", "base", "pointwise_bound_median"),
        both("pointwise_bound_median", base=900.0, pave=30.0),
        both("pointwise_bound_median", base=30.0, pave=900.0),
    ),
    "critic_side.conventional_regularizers_flatten": (
        ablation.flatter_than_base,
        critic_side("curvature_size_median", base=3.0, sn_critic=1e-4, gp_critic=1.0),
        critic_side("curvature_size_median", base=1.0, sn_critic=3.0, gp_critic=4.0),
    ),
    "critic_side.sn_flattens": (
        ablation.flattened_by_sn,
        critic_side("curvature_size_median", base=3.0, sn_critic=1e-4),
        critic_side("curvature_size_median", base=3.0, sn_critic=3.0),
    ),
    "critic_side.sn_constant_policy": (
        ablation.spread_of_actions,
        critic_side("action_sd_largest", sn_critic=1e-3),
        critic_side("action_sd_largest", sn_critic=0.3),
    ),
    "settings.most_sensitive_first": (
        lambda r: ablation.out_of_order(r, SWEEPS),
        swept({"curv": 3.0, "vfc": 2.0, "mpr": 1.0}),
        swept({"curv": 2.0, "vfc": 3.0, "mpr": 1.0}),
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_runs_that_behave_otherwise_turn_the_verdict(claim):
    measure, right, wrong = MUTATIONS[claim]
    assert verdict(claim, measure(right)) == "holds"
    assert verdict(claim, measure(wrong)) == "does not hold"
    with pytest.raises(NotRecorded):
        measure(RecordedRuns({}, SEEDS))


def test_the_sign_of_the_curvature_does_not_make_a_critic_flat():
    of = {"base": 3.0, "sn_critic": -30.0}
    cells = {
        (e, "td3", m): {
            "mixed_hessian_sup": 1e-3 if m == "sn_critic" else 1.0,
            "curvature_median": mu,
            "curvature_size_median": abs(mu),
        }
        for e in ("lunar", "walker")
        for m, mu in of.items()
    }
    assert verdict("critic_side.sn_flattens", ablation.flattened_by_sn(runs_of(cells))) == "does not hold"


def test_a_bound_that_exists_at_no_visited_state_is_above_every_other():
    nowhere = both("pointwise_bound_median", base=UNDEFINED, pave=1e9)
    assert nowhere.below("ant", "td3", "pave", "base", "pointwise_bound_median")["probability"] == 1.0


def test_a_record_from_before_a_measure_was_kept_is_named_with_what_it_lacks():
    old = SimpleNamespace(table={"geometry": pd.DataFrame({"action_units": ["environment"]})}.__getitem__, contents={})
    runs = RecordedRuns({("ant", "td3", "base", seed): old for seed in SEEDS}, SEEDS)
    with pytest.raises(NotRecorded, match="before pointwise_bound_median was kept, to be run again: ant td3 base"):
        runs.scores("ant", "td3", "base", "pointwise_bound_median")
    with pytest.raises(NotRecorded, match="before policy was kept"):
        runs.scores("ant", "td3", "base", "action_sd_largest")
    with pytest.raises(NotRecorded, match="before visited was kept"):
        runs.visited("ant", "td3", "base")


def test_spread_over_runs_and_pooled_spread_are_told_apart():
    alike = runs_of({cell: of | {"spread_of_episodes": 70.0} for cell, of in AS_PRINTED.items()})
    printed = PRINTED.assign(return_std=45.0)
    ratios = [tables.ratio_of_spreads(alike, printed, pooled=pooled) for pooled in (False, True)]
    assert ratios[1] == pytest.approx(1.0, abs=0.1) and ratios[0] > 1.5
    with pytest.raises(NotRecorded):
        tables.ratio_of_spreads(RecordedRuns({}, SEEDS), PRINTED, pooled=True)


def test_the_return_of_reacher_alone_falls_in_print():
    words = {e: verdict(f"td3.return_kept.{e}", tables.return_change(ALL, e, "td3")) for e in ENVIRONMENTS}
    assert words.pop("reacher") == "does not hold" and set(words.values()) == {"holds"}


def test_a_recorded_row_decides_its_share_and_the_whole_follows_from_the_parts():
    parts = [verdict(f"td3.return_kept.{e}", tables.return_change(ALL, e, "td3")) for e in ENVIRONMENTS]
    count = {"hold": parts.count("holds"), "fail": parts.count("does not hold"), "undecided": 0, "not_run": 0}
    assert verdict("td3.return_kept", count, count) == "holds, with an exception"
    only_ant = RecordedRuns({c: r for c, r in ALL._records.items() if c[0] == "ant"}, SEEDS)
    assert verdict("td3.return_kept.ant", tables.return_change(only_ant, "ant", "td3")) == "holds"
    with pytest.raises(NotRecorded):
        tables.return_change(only_ant, "hopper", "td3")


def test_cases_that_are_not_recorded_are_left_open():
    without = RecordedRuns({c: r for c, r in ALL._records.items() if c[2] != "caps"}, SEEDS)
    measured = tables.best_of_all(without, "walker", "td3", "return")
    assert measured["caps"] is None and measured["base"] is not None
    assert verdict("td3.walker_best_return", measured) == "not run at this profile"


def test_runs_of_one_seed_share_their_starts_so_that_a_common_shift_is_no_difference():
    shift = {seed: 40.0 * (seed - 3) for seed in SEEDS}
    cells = {}
    for method in METHODS:
        value = printed_value("sac", "pendulum", method, "return")
        for seed in SEEDS:
            made = record(seed, spread=0.0, **{"return": value + shift[seed] + seed % 2, "smoothness": 0.5})
            cells["pendulum", "sac", method, seed] = made
    measured = tables.cell_means(RecordedRuns(cells, SEEDS), PRINTED, "sac", "return", "pendulum")
    assert measured["caps"]["high"] - measured["caps"]["low"] < 1 < measured["base"]["high"] - measured["base"]["low"]
    assert measured["caps"]["printed_error"] < 0.1 * measured["base"]["printed_error"]
    assert verdict("table2.sac_return.pendulum", measured) == "undecided"  # the level is not settled


def test_the_error_of_a_printed_mean_is_that_of_fifty_episodes_unless_runs_differ():
    alike, apart = (
        tables.beside_print(of, PRINTED, ("ant", "td3", "base"), "return")["printed_error"]
        for of in (ALL, runs_of(changed([("ant", "td3", "base")], spread_of_episodes=0.01)))
    )
    assert alike == pytest.approx(printed_value("td3", "ant", "base", "return", "std") / 50**0.5)
    assert apart > 2 * alike


def test_checkpoints_are_read_at_the_printed_steps():
    steps = {e: sorted(set(TABLE_F.loc[TABLE_F["environment"] == e, "step"])) for e in ("lunar", "walker")}
    cells = {}
    for environment, of in steps.items():
        for method in ("base", "pave"):
            for seed in SEEDS:
                made = record(seed, steps=of, mixed_hessian_sup=500.0, negative_definite_rate=0.5)
                cells[environment, "td3", method, seed] = made
    runs = RecordedRuns(cells, SEEDS)
    assert set(geometry.base_over_pave_at_checkpoints(runs, TABLE_F, "walker").values()) == {1.0}
    assert geometry.growth(runs, TABLE_F, "pave", "lunar") == pytest.approx(1.0)
    assert geometry.rate_rise_failures(runs, TABLE_F) == {"cases": 4, "failures": 0}
    assert verdict("table_f.lunar", geometry.checkpoint_means(runs, TABLE_F, "lunar")) == "does not hold"
    missing = RecordedRuns({cell: record(cell[3], steps=[1]) for cell in cells}, SEEDS)
    with pytest.raises(NotRecorded, match="at step"):
        geometry.growth(missing, TABLE_F, "pave", "lunar")


def test_steps_between_which_a_rate_falls_are_failures():
    assert geometry.rises({("a", 1): 0.1, ("a", 2): 0.3, ("b", 1): 0.5, ("b", 9): 0.4}) == {"cases": 2, "failures": 1}


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


@pytest.mark.parametrize("environment", ("lunar", "walker"))
def test_critic_side_runs_as_printed_agree_and_others_do_not(environment):
    printed = printed_tables.critic_side_baselines()
    names = {"return_mean": "return"} | {name: name for name in ("smoothness", *ablation.GEOMETRY)}
    cells = {}
    for row in printed[printed["environment"] == environment].fillna(0.0).to_dict("records"):
        method = ablation.key(row["method"])
        cells[environment, "td3", method] = {name: row[column] for column, name in names.items()}
    claim = f"table_c.{environment}"
    assert verdict(claim, ablation.critic_side_means(runs_of(cells), printed, environment)) == "holds"
    doubled = {cell: {name: 2 * value + 1 for name, value in of.items()} for cell, of in cells.items()}
    assert verdict(claim, ablation.critic_side_means(runs_of(doubled), printed, environment)) == "does not hold"


def test_sweeps_are_read_from_the_methods_names():
    scores = pd.DataFrame({"method": ["curv=0.0001", "sigma=0.05"], "smoothness": [1.0, 2.0]})
    read = ablation.sweeps(scores)
    assert list(read["coefficient"]) == ["curv", "sigma"] and list(read["value"]) == [0.0001, 0.05]


def test_effects_recover_those_that_scores_were_made_from():
    generator = np.random.default_rng(0)
    scores = {
        m: 1.0 - 0.5 * ("curv" in m or m == "pave") + 0.2 * (m in ("mpr_vfc", "pave")) + 1e-3 * generator.normal(size=4)
        for m in ablation.CONFIGURATIONS
    }
    found = ablation.effects(scores).set_index("effect")["mean"]
    assert found["CURV"] == pytest.approx(-0.5, abs=0.01) and found["MPR x VFC"] == pytest.approx(0.1, abs=0.01)
    assert found["MPR x CURV"] == pytest.approx(0.0, abs=0.01)


PRINTED_CLAIMS = {
    "printed.smoothness_wins": (
        tables.printed_over_lowest,
        PRINTED,
        PRINTED.assign(smoothness_mean=PRINTED["smoothness_mean"] * (1 + (PRINTED["method"] == "pave"))),
    ),
    "printed.sac_reacher": (
        lambda t: tables.printed_actor_side_over_pave(t, "reacher", "sac"),
        PRINTED,
        PRINTED.assign(smoothness_mean=PRINTED["smoothness_mean"] * (2 - (PRINTED["method"] == "pave"))),
    ),
    "printed.td3_smoother": (tables.printed_td3_failures, PRINTED, PRINTED.assign(smoothness_mean=1.0)),
    "printed.sac_statements": (tables.printed_sac_failures, PRINTED, PRINTED.assign(return_mean=1.0)),
    "printed.without_curv_less_smooth": (
        ablation.printed_factorial_failures,
        TABLE_D,
        TABLE_D.assign(smoothness_mean=1.0),
    ),
    "printed.caps_adds_nothing": (
        ablation.printed_change_by_caps,
        TABLE_E,
        TABLE_E.assign(smoothness=[1.0, 2.0, 3.0, 4.0]),
    ),
    "printed.critic_side_statements.sn_constant_policy": (
        lambda t: ablation.printed_critic_side(t)["sn_constant_policy"],
        TABLE_C,
        TABLE_C.assign(smoothness=1.0),
    ),
    "printed.critic_side_statements.gp_lowers_mixed_hessian": (
        lambda t: ablation.printed_critic_side(t)["gp_lowers_mixed_hessian"],
        TABLE_C,
        TABLE_C.assign(mixed_hessian_sup=1.0),
    ),
    "printed.three_way_synergy": (
        lambda t: ablation.printed_effect(t, ablation.LOSSES),
        TABLE_D,
        TABLE_D.assign(smoothness_mean=-TABLE_D["smoothness_mean"]),
    ),
    "printed.asap_hopper_worse": (
        lambda t: geometry.printed_actor_side_over_base(geometry.printed_means(t, "mixed_hessian_sup"))["asap, hopper"],
        TABLE_A,
        TABLE_A.assign(mixed_hessian_sup=5.0),
    ),
    "printed.base_large_walker": (
        lambda t: geometry.printed_base_over_pave_at_checkpoints(t, "walker"),
        TABLE_F,
        TABLE_F.assign(mixed_hessian_sup=5.0),
    ),
    "printed.base_growth": (
        lambda t: geometry.printed_growth(t, "base", ["lunar"])["lunar"],
        TABLE_F,
        TABLE_F.assign(mixed_hessian_sup=5.0),
    ),
    "printed.negative_definite_rises": (
        geometry.printed_rises,
        TABLE_F,
        TABLE_F.assign(negative_definite_rate=-TABLE_F["negative_definite_rate"]),
    ),
    "printed.lowest_mixed_hessian": (
        lambda t: geometry.printed_over_lowest(geometry.printed_means(t, "mixed_hessian_sup")),
        TABLE_A,
        TABLE_A.assign(mixed_hessian_sup=1 / TABLE_A["mixed_hessian_sup"]),
    ),
    "printed.flip_reduction": (
        lambda t: geometry.printed_base_over_pave(geometry.printed_means(t, "flip_rate")),
        TABLE_B,
        TABLE_B.assign(flip_rate=0.1),
    ),
    "printed.tables_disagree.final_rate": (
        lambda t: geometry.difference_of_final(t, TABLE_A, "negative_definite_rate"),
        TABLE_F,
        TABLE_F.drop(columns="negative_definite_rate").merge(
            TABLE_A[["environment", "method", "negative_definite_rate"]], on=["environment", "method"]
        ),
    ),
    "printed.tables_disagree.walker_base": (
        lambda t: ablation.difference_of_tables(t, PRINTED, "base"),
        TABLE_D,
        TABLE_D.assign(return_mean=4834, smoothness_mean=1.990),
    ),
}


@pytest.mark.parametrize("claim", PRINTED_CLAIMS)
def test_other_printed_numbers_turn_the_verdict(claim):
    measure, printed, other = PRINTED_CLAIMS[claim]
    assert verdict(claim, measure(printed)) == "holds"
    assert verdict(claim, measure(other)) == "does not hold"


def test_repeated_numbers_agree_until_one_is_changed():
    table_c = printed_tables.critic_side_baselines()
    assert (
        verdict("printed.copies_agree", ablation.largest_difference_of_copies(PRINTED, TABLE_A, table_c, TABLE_E))
        == "holds"
    )
    other = TABLE_E.assign(smoothness=2 * TABLE_E["smoothness"])
    assert (
        verdict("printed.copies_agree", ablation.largest_difference_of_copies(PRINTED, TABLE_A, table_c, other))
        != "holds"
    )


def test_the_table_beside_print_has_a_row_per_printed_cell_and_says_what_is_not_run():
    one_cell = {("pendulum", "sac", "base"): AS_PRINTED["pendulum", "sac", "base"]}
    table = tables.against_print(runs_of(one_cell), PRINTED, "return")
    assert len(table) == len(PRINTED) == 60 and (table["runs"] == "not run").sum() == 59
    assert table.loc[table["runs"] == "5", "rule"].tolist() == ["undecided: +0.0 standard errors"]
    improvement = tables.improvement_over_base(ALL)
    assert len(improvement) == 2 * 4 * 2 * 7
