"""Verdicts: computed from a claim's rule and what a notebook measured, kept in one file per notebook."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from paperlib.repro import checks, paths
from paperlib.repro.catalogue import existing_notebooks
from paperlib.repro.checks import judge, plain
from paperlib.repro.claims import BASES, Claim, Rule, load_claims

HOLDS = "holds"
CORRECTED = "holds with a correction"
EXCEPTION = "holds, with an exception"
DOES_NOT_HOLD = "does not hold"
UNDECIDED = "undecided"
NOT_REPRODUCIBLE = "not reproducible from what is printed"
NOT_RUN = "not run at this profile"
VERDICTS = (HOLDS, CORRECTED, EXCEPTION, DOES_NOT_HOLD, UNDECIDED, NOT_REPRODUCIBLE, NOT_RUN)

NOT_YET_CHECKED = "not yet checked"
"""State of a claim whose notebook is not written."""
MISSING = "no verdict"
"""State of a claim whose notebook exists and has not recorded a verdict that can be read."""
OUT_OF_DATE = "verdict by an older rule"
"""State of a claim whose statement or rule changed after its verdict."""
UNFOUNDED = "verdict without its evidence"
"""State of a claim whose verdict does not follow from what was measured, or whose artefact is gone or another one."""
STATES = (*VERDICTS, NOT_YET_CHECKED, MISSING, OUT_OF_DATE, UNFOUNDED)
UNACCEPTABLE = (MISSING, OUT_OF_DATE, UNFOUNDED)
"""States that fail the build."""

_WORDS = {checks.PASSES: HOLDS, checks.FAILS: DOES_NOT_HOLD, checks.UNDECIDED: UNDECIDED, checks.NOT_RUN: NOT_RUN}


class DamagedVerdicts(ValueError):
    """A verdicts file is not what a notebook wrote; the message names it."""


@dataclass(frozen=True)
class Verdict:
    """A claim's verdict and what it rests on; `corrected` is the value measured for the correction.

    artefact: path relative to the build folder or the project, empty where nothing was run; artefact_sha256: its digest
    when the notebook ended. broken: what the same measure gave with formulas made wrong on purpose, all of which fail.
    """

    claim: str
    verdict: str
    measured: Any
    corrected: Any
    artefact: str
    detail: str
    profile: str
    rule_fingerprint: str
    artefact_sha256: str = ""
    broken: tuple = ()


class BlindCheck(ValueError):
    """A check lets a deliberately wrong formula pass, so its verdict says nothing."""


def decide(claim: Claim, measured: Any, corrected: Any, artefact: str, profile: str) -> Verdict:
    """The verdict on `claim` by its rule; ValueError if the measured values do not fit the rule.

    measured: a number, a mapping of cases to numbers, or what else the check takes (data/README.md).
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
            word = EXCEPTION if claim.correction.exception else CORRECTED
    return Verdict(claim.id, word, measured, corrected, artefact, detail, profile, claim.fingerprint)


def require_failure(claim: Claim, broken: Any) -> None:
    """BlindCheck unless the rule that the verdict rests on fails for what a wrong formula gave.

    That rule is the correction's where there is one.
    """
    rule = _deciding_rule(claim)
    word, _ = _decide_rule(rule, plain(broken))
    if word != DOES_NOT_HOLD:
        value = _value_in_words(plain(broken), rule)
        raise BlindCheck(f"{claim.id}: with a wrong formula it still reads {word!r} ({value})")


def _deciding_rule(claim: Claim) -> Rule:
    return claim.rule if claim.correction is None else claim.correction.rule


def not_run(claim: Claim, reason: str, profile: str) -> Verdict:
    """The verdict of a claim that this profile does not decide; `reason` says what it would take."""
    if not reason.strip():
        raise ValueError(f"{claim.id}: say why it is not run")
    return Verdict(claim.id, NOT_RUN, None, None, "", reason, profile, claim.fingerprint)


def count_parts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many of a claim's parts hold, fail, are undecided and not run, as the check `parts_hold` takes it."""
    words = Counter(verdict.verdict for verdict in verdicts)
    of = {"hold": words.pop(HOLDS, 0), "fail": words.pop(DOES_NOT_HOLD, 0), "undecided": words.pop(UNDECIDED, 0)}
    of["fail"] += words.pop(CORRECTED, 0) + words.pop(EXCEPTION, 0)  # the statement itself does not hold there
    return of | {"not_run": sum(words.values())}


def _decide_rule(rule: Rule, measured: Any) -> tuple[str, str]:
    outcome = judge(rule.check, rule.parameters, measured)
    if rule.check == "not_printed":
        return NOT_REPRODUCIBLE, outcome.detail
    word = _WORDS[outcome.result]
    without = {UNDECIDED: "the interval does not settle it", NOT_RUN: "too few cases at this profile"}
    return word, outcome.detail or without.get(word, "")


def write_verdicts(notebook: str, verdicts: Iterable[Verdict]) -> None:
    """Replace the verdicts file of one notebook, each verdict with the digest of its artefact as it is now."""
    rows = [asdict(replace(v, artefact_sha256=_digest(v.artefact) or "")) for v in verdicts]
    paths.write_atomically(paths.verdicts_file(notebook), json.dumps(rows, indent=1, allow_nan=False) + "\n")


def read_verdicts(notebook: str) -> dict[str, Verdict]:
    """What one notebook has recorded, by claim id; empty if it has not run to its end.

    DamagedVerdicts for a file that no notebook writes.
    """
    path = paths.verdicts_file(notebook)
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        found = [Verdict(**row) for row in rows]
        found = [replace(verdict, broken=tuple(verdict.broken)) for verdict in found]
        if not isinstance(rows, list) or any(not isinstance(value, str) for v in found for value in _texts(v)):
            raise TypeError("it is no list of verdicts with all their texts")
    except (ValueError, TypeError) as error:
        raise DamagedVerdicts(f"{path} is damaged ({error}): execute {notebook} again") from error
    return {verdict.claim: verdict for verdict in found}


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no measured value")


def _texts(v: Verdict) -> tuple[Any, ...]:
    return v.claim, v.verdict, v.artefact, v.detail, v.profile, v.rule_fingerprint, v.artefact_sha256


def artefact_path(artefact: str | Path) -> str:
    """An artefact's path relative to the build folder or to the project; FileNotFoundError if it lies in neither."""
    for folder in (paths.build_folder().resolve(), paths.project_folder().resolve()):
        path = (folder / artefact).resolve()
        if path.is_file() and path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    raise FileNotFoundError(f"artefact {artefact} is neither in the build folder nor in the project")


def _digest(artefact: str) -> str | None:
    """SHA-256 of an artefact's content, None if there is no such artefact."""
    for folder in (paths.build_folder(), paths.project_folder()):
        if artefact and (folder / artefact).is_file():
            return hashlib.sha256((folder / artefact).read_bytes()).hexdigest()
    return None


def scoreboard() -> pd.DataFrame:
    """All claims in the ledger's order, one row each, with the state of each (STATES) and what it rests on.

    A verdict counts only in the file of its claim's own notebook. Columns: claim, paper, notebook, kind, basis, where,
    statement, state, rule, fingerprint, printed, measured, artefact, profile, detail.
    """
    existing = {entry.name for entry in existing_notebooks()}
    recorded, damaged = _read_all(existing)
    rows = []
    for claim in load_claims().values():
        row = _row(claim, recorded.get(claim.notebook, {}).get(claim.id), claim.notebook in existing)
        rows.append(row | {"detail": damaged.get(claim.notebook, row["detail"])})
    return pd.DataFrame(rows, columns=_COLUMNS)


def _read_all(notebooks: Iterable[str]) -> tuple[dict[str, dict[str, Verdict]], dict[str, str]]:
    """The verdicts of each notebook, and what is wrong with the files that cannot be read."""
    recorded, damaged = {}, {}
    for name in sorted(notebooks):
        try:
            recorded[name] = read_verdicts(name)
        except DamagedVerdicts as error:
            damaged[name] = str(error)
    return recorded, damaged


def irregularities() -> list[str]:
    """What is wrong with the verdicts beside the claims' own states, a line each; the build fails for any of them."""
    recorded, damaged = _read_all(entry.name for entry in existing_notebooks())
    ledger = load_claims()
    strangers = [
        f"{paths.verdicts_file(name)} holds a verdict on {claim}, which is no claim of {name}: execute {name} again"
        for name, verdicts in recorded.items()
        for claim in verdicts
        if claim not in ledger or ledger[claim].notebook != name
    ]
    return [*damaged.values(), *strangers]


def mixed_profiles(table: pd.DataFrame) -> str:
    """One line on the profiles that a scoreboard's verdicts were made at, empty if it is one."""
    of = {profile: group["notebook"].nunique() for profile, group in table.groupby("profile") if profile}
    if len(of) < 2:
        return ""
    return "verdicts of different profiles: " + ", ".join(f"{profile} in {n} notebooks" for profile, n in of.items())


def bases(table: pd.DataFrame) -> pd.DataFrame:
    """Claims by what they rest on (claims.BASES) and state, one row each; states nobody has are left out."""
    return _counts(table, "basis", [basis for basis in BASES if (table["basis"] == basis).any()])


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """Claims per notebook and state, one row per notebook and a row `all`; states nobody has are left out."""
    return _counts(table, "notebook", [*sorted(set(table["notebook"])), "all"])


def _counts(table: pd.DataFrame, column: str, values: Iterable[str]) -> pd.DataFrame:
    states = [state for state in STATES if (table["state"] == state).any()]
    rows = []
    for value in values:
        group = table if value == "all" else table[table[column] == value]
        by_state = {state: int((group["state"] == state).sum()) for state in states}
        rows.append({column: value, "claims": len(group), **by_state})
    return pd.DataFrame(rows, columns=[column, "claims", *states])


_COLUMNS = [
    *("claim", "paper", "notebook", "kind", "basis", "where", "statement", "state"),
    *("rule", "fingerprint", "printed", "measured", "artefact", "profile", "detail"),
]


def _row(claim: Claim, verdict: Verdict | None, notebook_exists: bool) -> dict[str, str]:
    row = dict.fromkeys(_COLUMNS, "")
    row |= {"claim": claim.id, "paper": claim.paper, "notebook": claim.notebook}
    row |= {"kind": claim.kind, "basis": claim.basis}
    row |= {"where": claim.where, "statement": claim.statement, "rule": f"{claim.rule.measure}: {claim.rule.words}"}
    row["fingerprint"] = claim.fingerprint
    row["state"] = state(claim, verdict, notebook_exists)
    if verdict is not None:
        row |= {"printed": printed_in_words(claim.rule, verdict.measured), "measured": in_words(verdict, claim)}
        row |= {"artefact": verdict.artefact, "profile": verdict.profile, "detail": verdict.detail}
    if verdict is not None and claim.correction is not None and row["state"] in (CORRECTED, EXCEPTION):
        row["detail"] = " | ".join(part for part in (claim.correction.statement, verdict.detail) if part)
    return row


def state(claim: Claim, verdict: Verdict | None, notebook_exists: bool) -> str:
    """One of STATES. The verdict is computed anew from what was measured: what a file says is not believed."""
    if verdict is None:
        return MISSING if notebook_exists else NOT_YET_CHECKED
    if verdict.rule_fingerprint != claim.fingerprint:
        return OUT_OF_DATE
    return verdict.verdict if _follows(claim, verdict) and _has_its_artefact(verdict) else UNFOUNDED


def _follows(claim: Claim, verdict: Verdict) -> bool:
    """Whether the verdict and its detail are those of the rule for what was measured."""
    if verdict.measured is None and claim.rule.check != "not_printed":
        return verdict.verdict == NOT_RUN and verdict.detail.strip() != ""
    try:
        again = decide(claim, verdict.measured, verdict.corrected, verdict.artefact, verdict.profile)
    except (ValueError, TypeError):
        return False
    return (again.verdict, again.detail) == (verdict.verdict, verdict.detail)


def _has_its_artefact(verdict: Verdict) -> bool:
    if verdict.measured is None and not verdict.artefact:
        return True  # nothing was run
    return bool(verdict.artefact_sha256) and _digest(verdict.artefact) == verdict.artefact_sha256


def in_words(verdict: Verdict, claim: Claim) -> str:
    """The measured figures, short enough for a table cell; of many cases the worst by the rule of its `claim`."""
    measured = _value_in_words(verdict.measured, claim.rule)
    if verdict.corrected is None or claim.correction is None:
        return measured
    return f"{measured}; corrected: {_value_in_words(verdict.corrected, claim.correction.rule)}"


def broken_in_words(verdict: Verdict, claim: Claim) -> str:
    """What wrong formulas gave, short enough for a table cell."""
    return " | ".join(_value_in_words(value, _deciding_rule(claim)) for value in verdict.broken)


def printed_in_words(rule: Rule, measured: Any) -> str:
    """The printed figure a claim is held against, empty where the rule has none; of many the worst case's."""
    printed = _printed(rule, measured)
    if not isinstance(printed, Mapping) or len(printed) <= _FEW or not isinstance(measured, Mapping):
        return _value_in_words(printed, rule)
    case = _worst_case(rule, measured)
    return f"{case}: {_value_in_words(printed[case], rule)}" if case in printed else ""


def _printed(rule: Rule, measured: Any) -> Any:
    if "printed" in rule.parameters:
        return rule.parameters["printed"]
    if rule.check == "mean_agrees" and isinstance(measured, Mapping):
        if "printed" in measured:
            return measured["printed"]
        return {case: value["printed"] for case, value in measured.items() if value is not None}
    return None


_FEW = 4
"""So many cases fit into a table cell; of more the worst is named."""


def _value_in_words(value: Any, rule: Rule) -> str:
    if value is None:
        return ""
    if not isinstance(value, Mapping):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if {"cases", "failures"} <= value.keys():
        return f"{value['failures']:g} failures in {value['cases']:g} cases"
    if {"hold", "fail", "undecided", "not_run"} <= value.keys():
        return ", ".join(f"{number:g} {word.replace('_', ' ')}" for word, number in value.items())
    for centre in ("mean", "probability"):
        if {centre, "low", "high"} <= value.keys():
            p = f", p = {value['p']:.2g}" if "p" in value else ""
            return f"{value[centre]:.4g} [{value['low']:.4g}, {value['high']:.4g}]{p}"
    if len(value) > _FEW:
        return _worst_in_words(value, rule)
    return ", ".join(f"{case}: {_value_in_words(item, rule) or 'not run'}" for case, item in value.items())


def _worst_in_words(cases: Mapping[str, Any], rule: Rule) -> str:
    case, missing = _worst_case(rule, cases), sum(value is None for value in cases.values())
    if case is None:
        return f"{len(cases)} cases" + (", none of them run" if missing == len(cases) else "")
    without = f", {missing} not run" if missing else ""
    return f"worst of {len(cases)} cases{without}: {case}: {_value_in_words(cases[case], rule)}"


def _worst_case(rule: Rule, cases: Mapping[str, Any]) -> str | None:
    """None where nothing was run, and where the cases are those of a rule before this one."""
    try:
        return checks.worst_case(rule.check, rule.parameters, cases)
    except (ValueError, TypeError, KeyError):
        return None
