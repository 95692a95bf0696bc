"""Five findings, two sentences each: the words are ours, every number and verdict in them is read.

Numbers come from the recorded runs, from the printed tables and from the verdicts published in data/verdicts.csv.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from paperlib.pave.records import printed_tables
from paperlib.pave.records.scores import RecordedRuns, recorded_runs
from paperlib.repro import claims, publishing, verdicts


@dataclass(frozen=True)
class Finding:
    """A headline, the sentences below it, and the claims whose verdicts they rest on."""

    headline: str
    text: str
    claims: tuple[str, ...]


def findings() -> list[Finding]:
    """The five, in the order of the notebooks."""
    published = published_states()
    return [
        _bound(published),
        _curvature_loss(printed_tables.critic_geometry()),
        _smoother_policies(recorded_runs()),
        _several_step_sizes(published),
        _guaranteed_steps(published),
    ]


def in_markdown(found: list[Finding]) -> str:
    """A numbered list, under each finding the claims with their published verdicts."""
    states = published_states().set_index("claim")["state"]
    lines = []
    for number, finding in enumerate(found, start=1):
        rests = "; ".join(f"`{claim}`: {states.get(claim, verdicts.MISSING)}" for claim in finding.claims)
        lines.append(f"{number}. **{finding.headline}** {finding.text}<br>*{rests}*")
    return "\n".join(lines)


def published_states() -> pd.DataFrame:
    """Published verdicts of the ledger's claims: claim, notebook, basis, state."""
    notebooks = {claim.id: claim.notebook for claim in claims.load_claims().values()}
    table = publishing.published_verdicts()[["claim", "basis", "state"]]
    return table.assign(notebook=table["claim"].map(notebooks)).dropna(subset=["notebook"])


def what_became_of(published: pd.DataFrame, notebooks: tuple[str, ...], bases: tuple[str, ...]) -> str:
    """Of the claims of these notebooks (by number) that rest on these: how many there are, and hold in which way."""
    part = published[published["notebook"].str[:2].isin(notebooks) & published["basis"].isin(bases)]
    hold, fail = (int((part["state"] == state).sum()) for state in (verdicts.HOLDS, verdicts.DOES_NOT_HOLD))
    amended = int(part["state"].isin([verdicts.CORRECTED, verdicts.EXCEPTION]).sum())
    return (
        f"of {len(part)} claims {hold} hold as printed, {amended} with a correction or an exception, "
        f"and {fail or 'none'} do{'' if fail else 'es'} not"
    )


def _bound(published: pd.DataFrame) -> Finding:
    return Finding(
        "PAVE's bound is right, with two hypotheses more.",
        "A greedy policy is Lipschitz with constant $M/\\mu$ if its action is unique at every state and the states are "
        "a convex set; without either there are counterexamples. On theory in "
        "[01](01_implicit_policy_jacobian.ipynb) and [02](02_policy_lipschitz_bound.ipynb), "
        f"{what_became_of(published, ('01', '02'), (claims.THEORY,))}.",
        ("pave.lemma1.formula", "pave.prop2.bound", "pave.prop2.lipschitz"),
    )


def _curvature_loss(geometry: pd.DataFrame) -> Finding:
    rates = 100 * geometry.loc[geometry["method"] == "pave", "negative_definite_rate"]
    return Finding(
        "The curvature loss encourages a concave critic and does not ensure it.",
        "It is zero for Hessians with a positive eigenvalue, such as diag(1, -3), because its probes see only the "
        "diagonals of the cube ([05](05_curvature_preservation.ipynb)). In the paper's own table PAVE's critics are "
        f"concave at {rates.min():.0f} to {rates.max():.1f} % of the visited states.",
        ("pave.curv.enforces_curvature_bound", "pave.prop2.printed_curvature_bounded_away"),
    )


def _smoother_policies(runs: RecordedRuns) -> Finding:
    cell = "pendulum", "sac"
    score = {m: runs.interval(*cell, m, "smoothness")["mean"] for m in ("base", "pave")}
    returns = {m: runs.interval(*cell, m, "return")["mean"] for m in ("base", "pave")}
    smoother = runs.below(*cell, "pave", "base", "smoothness")
    concave = runs.above(*cell, "pave", "base", "negative_definite_rate")
    steepness = runs.below(*cell, "pave", "base", "mixed_hessian_sup")
    return Finding(
        "Where it is recorded at the published budget, PAVE acts more smoothly, and its critic is concave more often.",
        f"SAC on Pendulum, {len(runs.seeds)} runs each: PAVE's smoothness score is {score['pave']:.2f} and Base's "
        f"{score['base']:.2f} (lower is smoother), the returns {returns['pave']:.0f} and {returns['base']:.0f}. Of a "
        f"run of each, PAVE's is the smoother one with probability {_probability(smoother)}, concave at more states "
        f"with {_probability(concave)}, and of smaller $M$ with {_probability(steepness)} "
        "([07](07_return_and_smoothness.ipynb), [08](08_critic_geometry.ipynb)).",
        ("pave.geometry.sac_pendulum_negative_definite", "pave.geometry.sac_pendulum_mixed_hessian"),
    )


def _probability(found: dict[str, float]) -> str:
    return f"{found['probability']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def _several_step_sizes(published: pd.DataFrame) -> Finding:
    right, printed = np.degrees([math.atan(1 / math.sqrt(8)), math.atan(1 / 8)])
    return Finding(
        "The closed form for several step sizes is right with another threshold.",
        f"The guarantee has an interior maximum up to an angle of {right:.1f} degrees, where "
        f"$\\tan\\varphi = 1/\\sqrt 8$, and not only up to the printed arctan(1/8), {printed:.1f} degrees. On the "
        "theory of step sizes in [13](13_step_size_rules.ipynb), "
        f"{what_became_of(published, ('13',), (claims.THEORY,))}.",
        ("lip.mss.threshold_angle", "lip.mss.better_guarantees", "lip.mss.monotone_above_threshold"),
    )


def _guaranteed_steps(published: pd.DataFrame) -> Finding:
    return Finding(
        "Guaranteed steps pay where the MDP is smooth, and there are none where it is no contraction.",
        "On LQG the Lipschitz rule needs fewer iterations than the earlier rule in most settings, and as "
        "$\\gamma L_P(1 + L_\\pi)$ nears 1 its steps vanish. On theory and runs of [14](14_lqg.ipynb), "
        "[15](15_mass_spring_damper.ipynb) and [16](16_ship_steering.ipynb), "
        f"{what_became_of(published, ('14', '15', '16'), (claims.THEORY, claims.RUNS))}.",
        (
            "lip.lqg.outperforms_agss_in_most_settings",
            "lip.lqg.not_applicable_at_large_gamma_and_lp",
            "lip.conclusion.improvement_at_each_iteration",
        ),
    )
