"""Notebook 09: which loss does what, and other critic regularisers, from recorded runs that are complete."""

import numpy as np
import pytest
from made_runs import assert_turned, runs_of, td3, verdict

from paperlib.notebooks.nb09_pave_ablations import measures as ablation
from paperlib.notebooks.shared.scores import beside_print
from paperlib.pave.records import printed_tables

TABLE_C = printed_tables.critic_side_baselines()
TABLE_D = {q: printed_tables.values(printed_tables.ablation(), q) for q in ("return", "smoothness")}
FACTORIAL = {
    ("walker", "td3", m): {"return": TABLE_D["return"]["walker", m], "smoothness": score, "flip_rate": 0.1}
    for (_, m), score in TABLE_D["smoothness"].items()
}

SWEEPS = ("mpr=0.1", "mpr=1", "vfc=0.1", "vfc=1", "curv=0.1", "curv=1", "delta=1", "delta=2")


def swept(slopes):
    """Sweeps in which a coefficient's score is its value times its slope, plus one."""
    coefficient_and_value = {m: m.split("=") for m in SWEEPS}
    scores = {m: 1 + slopes.get(name, 9.0) * float(value) for m, (name, value) in coefficient_and_value.items()}
    return runs_of({(e, "td3", m): {"smoothness": score} for e in ("lunar", "walker") for m, score in scores.items()})


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


def flattened(runs):
    return ablation.flattened_by_sn({q: td3(runs, q) for q in ("mixed_hessian_sup", "curvature_size_median")})


MUTATIONS = {
    "table_d.return": (
        lambda r: beside_print({"return": td3(r, "return")}, {"return": TABLE_D["return"]}, "walker"),
        runs_of(FACTORIAL),
        runs_of({c: of | {"return": 1.0} for c, of in FACTORIAL.items()}),
    ),
    "ablation.without_curv_less_smooth": (
        lambda r: r.above(*ablation.WALKER, "mpr_vfc", "base", "smoothness"),
        runs_of(FACTORIAL),
        runs_of({c: of | {"smoothness": 1.0 + (c[2] == "base")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.all_three_smoothest": (
        ablation.all_three_smoothest,
        runs_of(FACTORIAL),
        runs_of({c: of | {"smoothness": 1.0 + (c[2] == "pave")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.vfc_fewer_flips": (
        lambda r: r.below(*ablation.WALKER, "vfc", "base", "flip_rate"),
        runs_of({c: of | {"flip_rate": 0.1 + (c[2] == "base")} for c, of in FACTORIAL.items()}),
        runs_of({c: of | {"flip_rate": 0.1 + (c[2] == "vfc")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.three_way_synergy": (
        lambda r: ablation.effect(td3(r, "smoothness"), ablation.LOSSES),
        runs_of(FACTORIAL),
        runs_of({c: of | {"smoothness": 1.0 + (c[2] == "pave")} for c, of in FACTORIAL.items()}),
    ),
    "ablation.curv_reduces_sensitivity": (
        lambda r: r.below(*ablation.WALKER, "curv", "base", "actor_jacobian_median"),
        runs_of({c: of | {"actor_jacobian_median": 1.0 + (c[2] == "base")} for c, of in FACTORIAL.items()}),
        runs_of({c: of | {"actor_jacobian_median": 1.0 + (c[2] == "curv")} for c, of in FACTORIAL.items()}),
    ),
    "critic_side.conventional_regularizers_flatten": (
        ablation.flatter_than_base,
        critic_side("curvature_size_median", base=3.0, sn_critic=1e-4, gp_critic=1.0),
        critic_side("curvature_size_median", base=1.0, sn_critic=3.0, gp_critic=4.0),
    ),
    "critic_side.sn_flattens": (
        flattened,
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
    assert_turned(claim, *MUTATIONS[claim])


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
    assert verdict("critic_side.sn_flattens", flattened(runs_of(cells))) == "does not hold"


@pytest.mark.parametrize("environment", ("lunar", "walker"))
def test_critic_side_runs_as_printed_agree_and_others_do_not(environment):
    printed = {q: printed_tables.values(TABLE_C, q) for q in ("return", "smoothness", *ablation.GEOMETRY)}
    cells = {
        (environment, "td3", m): {q: of.get((environment, m), 0.0) for q, of in printed.items()}
        for m in ablation.CRITIC_SIDE
    }
    regularised = {q: {c: v for c, v in of.items() if c[1] in ablation.CRITIC_SIDE} for q, of in printed.items()}
    doubled = {cell: {q: 2 * value + 1 for q, value in of.items()} for cell, of in cells.items()}
    agreeing, differing = (
        beside_print({q: td3(runs_of(made), q) for q in printed}, regularised, environment) for made in (cells, doubled)
    )
    assert verdict(f"table_c.{environment}", agreeing) == "holds"
    assert verdict(f"table_c.{environment}", differing) == "does not hold"


def test_effects_recover_those_that_scores_were_made_from():
    generator = np.random.default_rng(0)
    scores = {
        m: 1.0 - 0.5 * ("curv" in m or m == "pave") + 0.2 * (m in ("mpr_vfc", "pave")) + 1e-3 * generator.normal(size=4)
        for m in ablation.CONFIGURATIONS
    }
    found = ablation.effects(scores).set_index("effect")["mean"]
    assert found["Curv"] == pytest.approx(-0.5, abs=0.01) and found["MPR x VFC"] == pytest.approx(0.1, abs=0.01)
    assert found["MPR x Curv"] == pytest.approx(0.0, abs=0.01)


def test_printed_scores_have_effects_without_intervals_and_those_of_the_claims():
    printed = ablation.factorials(runs_of({}), TABLE_D["smoothness"], "smoothness")
    assert list(printed) == ["printed"]
    found = ablation.effects(printed["printed"]).set_index("effect")
    assert found["mean"]["MPR x VFC x Curv"] == ablation.effect(TABLE_D["smoothness"], ablation.LOSSES)
    assert found[["low", "high"]].isna().all(axis=None)


def test_an_environment_joins_the_print_when_all_eight_combinations_are_recorded():
    seven = {cell: of for cell, of in FACTORIAL.items() if cell[2] != "curv"}
    for cells, sources in ((FACTORIAL, ["printed", "walker"]), (seven, ["printed"])):
        assert list(ablation.factorials(runs_of(cells), TABLE_D["smoothness"], "smoothness")) == sources
