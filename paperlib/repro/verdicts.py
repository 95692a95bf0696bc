"""Verdicts: computed from a claim's rule and what a notebook measured, kept in one file per notebook."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from paperlib.repro import paths
from paperlib.repro.catalogue import existing_notebooks
from paperlib.repro.checks import judge, plain
from paperlib.repro.claims import Claim, Rule, load_claims

HOLDS = "holds"
CORRECTED = "holds with a correction"
DOES_NOT_HOLD = "does not hold"
NOT_REPRODUCIBLE = "not reproducible from what is printed"
NOT_RUN = "not run at this profile"
VERDICTS = (HOLDS, CORRECTED, DOES_NOT_HOLD, NOT_REPRODUCIBLE, NOT_RUN)

NOT_YET_CHECKED = "not yet checked"
"""State of a claim whose notebook is not written."""
MISSING = "no verdict"
"""State of a claim whose notebook exists and has not recorded a verdict."""
OUT_OF_DATE = "verdict by an older rule"
"""State of a claim whose rule changed after its verdict."""
STATES = (*VERDICTS, NOT_YET_CHECKED, MISSING, OUT_OF_DATE)
UNACCEPTABLE = (MISSING, OUT_OF_DATE)
"""States that fail the build."""


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict and what it rests on; `corrected` is the value measured for the correction."""

    claim: str
    verdict: str
    measured: Any
    corrected: Any
    artefact: str
    detail: str
    profile: str
    rule_fingerprint: str


def decide(claim: Claim, measured: Any, corrected: Any, artefact: str, profile: str) -> Verdict:
    """The verdict on `claim` by its rule; ValueError if the measured values do not fit the rule.

    measured: a number, a mapping of cases to numbers, or what else the check takes (data/claims.yaml).
    corrected: the same for the claim's correction; given exactly if the claim has one.
    """
    if (corrected is None) != (claim.correction is None):
        raise ValueError(f"{claim.id}: corrected= is needed exactly where the ledger has a correction")
    measured, corrected = plain(measured), plain(corrected)
    word, detail = _decide_rule(claim.rule, measured)
    if word == DOES_NOT_HOLD and claim.correction is not None:
        word_corrected, detail_corrected = _decide_rule(claim.correction.rule, corrected)
        detail = "; correction: ".join(part for part in (detail, detail_corrected) if part)
        if word_corrected == HOLDS:
            word = CORRECTED
    return Verdict(claim.id, word, measured, corrected, artefact, detail, profile, claim.fingerprint)


def not_run(claim: Claim, reason: str, profile: str) -> Verdict:
    """The verdict of a claim that this profile does not decide; `reason` says what it would take."""
    if not reason.strip():
        raise ValueError(f"{claim.id}: say why it is not run")
    return Verdict(claim.id, NOT_RUN, None, None, "", reason, profile, claim.fingerprint)


def _decide_rule(rule: Rule, measured: Any) -> tuple[str, str]:
    outcome = judge(rule.check, rule.parameters, measured)
    if rule.check == "not_printed":
        return NOT_REPRODUCIBLE, outcome.detail
    word = {"passes": HOLDS, "fails": DOES_NOT_HOLD, "open": NOT_RUN}[outcome.result]
    return word, outcome.detail or ("the interval does not decide" if outcome.result == "open" else "")


def write_verdicts(notebook: str, verdicts: Iterable[Verdict]) -> None:
    """Replace the verdicts file of one notebook."""
    rows = [asdict(verdict) for verdict in verdicts]
    paths.write_atomically(paths.verdicts_file(notebook), json.dumps(rows, indent=1, allow_nan=False) + "\n")


def read_verdicts(notebook: str) -> dict[str, Verdict]:
    """What one notebook has recorded, by claim id; empty if it has not run to its end."""
    path = paths.verdicts_file(notebook)
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))
    return {row["claim"]: Verdict(**row) for row in rows}


def scoreboard() -> pd.DataFrame:
    """All claims in the ledger's order, one row each, with the state of each (STATES) and what it rests on.

    Columns: claim, paper, notebook, kind, where, statement, state, rule, printed, measured, artefact, profile, detail.
    """
    existing = {entry.name for entry in existing_notebooks()}
    recorded: dict[str, Verdict] = {}
    for name in sorted(existing):
        recorded |= read_verdicts(name)
    rows = [_row(claim, recorded.get(claim.id), claim.notebook in existing) for claim in load_claims().values()]
    return pd.DataFrame(rows, columns=_COLUMNS)


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Claims per notebook and state, one row per notebook and a row `all`; states nobody has are left out."""
    states = [state for state in STATES if (table["state"] == state).any()]
    rows = [
        {"notebook": name, "claims": len(group), **{state: int((group["state"] == state).sum()) for state in states}}
        for name, group in [*table.groupby("notebook", sort=True), ("all", table)]
    ]
    return pd.DataFrame(rows, columns=["notebook", "claims", *states])


_COLUMNS = [
    *("claim", "paper", "notebook", "kind", "where", "statement", "state"),
    *("rule", "printed", "measured", "artefact", "profile", "detail"),
]


def _row(claim: Claim, verdict: Verdict | None, notebook_exists: bool) -> dict[str, str]:
    row = dict.fromkeys(_COLUMNS, "")
    row |= {"claim": claim.id, "paper": claim.paper, "notebook": claim.notebook, "kind": claim.kind}
    row |= {"where": claim.where, "statement": claim.statement, "rule": f"{claim.rule.measure}: {claim.rule.words}"}
    row["state"] = state(claim, verdict, notebook_exists)
    if verdict is not None:
        row |= {"printed": printed_in_words(claim.rule, verdict.measured), "measured": in_words(verdict)}
        row |= {"artefact": verdict.artefact, "profile": verdict.profile, "detail": verdict.detail}
    if verdict is not None and claim.correction is not None and row["state"] == CORRECTED:
        row["detail"] = " | ".join(part for part in (claim.correction.statement, verdict.detail) if part)
    return row


def state(claim: Claim, verdict: Verdict | None, notebook_exists: bool) -> str:
    """One of STATES."""
    if verdict is None:
        return MISSING if notebook_exists else NOT_YET_CHECKED
    return verdict.verdict if verdict.rule_fingerprint == claim.fingerprint else OUT_OF_DATE


def in_words(verdict: Verdict) -> str:
    """The measured figures, short enough for a table cell."""
    measured = _value_in_words(verdict.measured)
    return f"{measured}; corrected: {_value_in_words(verdict.corrected)}" if verdict.corrected is not None else measured


def printed_in_words(rule: Rule, measured: Any) -> str:
    """The printed figure a claim is held against, empty where the rule has none."""
    if "printed" in rule.parameters:
        return _value_in_words(rule.parameters["printed"])
    if rule.check == "mean_agrees" and isinstance(measured, Mapping):
        if "printed" in measured:
            return _value_in_words(measured["printed"])
        return _value_in_words({case: value["printed"] for case, value in measured.items() if value is not None})
    return ""


def _value_in_words(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if {"cases", "failures"} <= value.keys():
        return f"{value['failures']:g} failures in {value['cases']:g} cases"
    for centre in ("mean", "probability"):
        if {centre, "low", "high"} <= value.keys():
            return f"{value[centre]:.4g} [{value['low']:.4g}, {value['high']:.4g}]"
    if len(value) > 4:
        return f"{len(value)} cases"
    return ", ".join(f"{case}: {_value_in_words(item) or 'not run'}" for case, item in value.items())
