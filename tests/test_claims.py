"""The claims ledger, the decision rules, the verdicts and the notebook's side of them."""

import dataclasses
import json
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from paperlib import repro
from paperlib.repro import claims, figures, paths, profiles, tables, verdicts
from paperlib.repro.checks import CHECKS, judge, plain
from paperlib.repro.notebook import MissingVerdict


def entry(**changes):
    """A sound ledger entry with some keys changed; a key set to None is left out."""
    sound = {
        "id": "pave.toy",
        "paper": "pave",
        "where": "Section 1",
        "statement": "Water is wet.",
        "kind": "theorem",
        "rule": {"measure": "wetness", "check": "at_most", "threshold": 1.0},
    }
    return {key: value for key, value in (sound | changes).items() if value is not None}


CORRECTION = {"statement": "Water is damp.", "measure": "dampness", "check": "at_least", "threshold": 0.5}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one written notebook, 01_toy, and one planned, 02_planned; call it with ledger entries."""
    monkeypatch.setattr(paths, "project_folder", lambda: tmp_path)
    monkeypatch.delenv("PAPERLIB_BUILD", raising=False)
    monkeypatch.delenv("PAPERLIB_PROFILE", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_toy.ipynb").write_text("{}")
    listing = {name: "a toy" for name in ("01_toy", "02_planned")}
    (tmp_path / "data" / "notebooks.yaml").write_text(yaml.safe_dump(listing))

    def write_ledger(*entries, notebook="01_toy"):
        path = tmp_path / "data" / "claims" / f"{notebook}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(list(entries), sort_keys=False))
        return path

    return write_ledger


def test_the_ledger_of_this_project_is_sound():
    ledger = claims.load_claims()
    assert ledger
    assert all(claim.rule.words for claim in ledger.values())


def test_a_sound_entry_is_read_as_written(project):
    project(entry(correction=CORRECTION))
    claim = claims.load_claims()["pave.toy"]
    assert (claim.where, claim.rule.measure, claim.rule.parameters) == ("Section 1", "wetness", {"threshold": 1.0})
    assert claim.correction.rule.check == "at_least"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "opinion"}, "unknown kind 'opinion'"),
        ({"paper": "other"}, "unknown paper 'other'"),
        ({"id": "lip.toy"}, "starts with pave."),
        ({"id": "pave.Toy"}, "lower_snake"),
        ({"statement": None}, "lacks statement"),
        ({"where": " "}, "where must be a text"),
        ({"color": "blue"}, "unknown key color"),
        ({"rule": {"measure": "m", "check": "looks_fine"}}, "unknown check 'looks_fine'"),
        ({"rule": {"measure": "m", "check": "at_most"}}, "lacks threshold"),
        ({"rule": {"measure": "m", "check": "at_most", "threshold": "small"}}, "finite number"),
        ({"rule": {"measure": "m", "check": "at_most", "threshold": math.nan}}, "finite number"),
        ({"rule": {"measure": "m", "check": "at_most", "threshold": True}}, "finite number"),
        ({"rule": {"measure": "m", "check": "no_failures", "minimum_cases": 1, "share": 0.5}}, "does not take share"),
        ({"rule": {"measure": "m", "check": "ordering", "share": 1.5}}, "share must lie"),
        ({"rule": {"measure": "m", "check": "not_printed", "reason": ""}}, "reason must say why"),
        ({"rule": {"check": "at_most", "threshold": 1}}, "lacks measure"),
        ({"correction": {"measure": "m", "check": "at_most", "threshold": 1}}, "statement"),
        ({"correction": CORRECTION | {"exception": "yes"}}, "exception must be true or false"),
        ({"rule": {"measure": "m", "check": "mean_agrees"}}, "lacks relative_tolerance"),
        ({"rule": {"measure": "m", "check": "parts_hold", "parts": 3, "minimum": 1}}, "beginning of the parts"),
    ],
)
def test_a_broken_entry_is_refused_with_its_line(project, changes, message):
    project(entry(id="pave.first"), entry(**changes))
    with pytest.raises(claims.LedgerError, match=message) as error:
        claims.load_claims()
    assert "01_toy.yaml, line 10, " in str(error.value)  # after the nine lines of the first entry


def test_an_id_used_twice_is_refused(project):
    project(entry(), entry())
    with pytest.raises(claims.LedgerError, match="pave.toy: this id is already used"):
        claims.load_claims()


def test_an_id_used_twice_in_two_notebooks_is_refused(project):
    project(entry(), notebook="02_planned")
    project(entry())
    with pytest.raises(claims.LedgerError, match="02_planned.yaml, pave.toy: this id is already used in 01_toy.yaml"):
        claims.load_claims()


def test_a_file_of_claims_that_no_notebook_bears_is_refused(project):
    project(entry(), notebook="77_nowhere")
    with pytest.raises(claims.LedgerError, match="77_nowhere.yaml: no notebook of that name"):
        claims.load_claims()


def test_a_claim_of_this_projects_own_says_so_in_its_id(project):
    project(entry(id="ours.toy", paper="ours"))
    assert claims.load_claims()["ours.toy"].paper == "ours"
    project(entry(paper="ours"))
    with pytest.raises(claims.LedgerError, match="a claim of paper ours starts with ours."):
        claims.load_claims()


def test_a_key_given_twice_is_refused(project):
    path = project(entry())
    path.write_text(path.read_text() + "  where: Section 2\n")
    with pytest.raises(claims.LedgerError, match="where given twice"):
        claims.load_claims()


AGREEING = {"mean": 10.0, "low": 9.8, "high": 10.2, "printed": 10.1, "printed_error": 0.1}
DIFFERING = AGREEING | {"printed": 12.5}
WIDE = AGREEING | {"low": 5.0, "high": 15.0}
PARTS = {"hold": 0, "fail": 0, "undecided": 0, "not_run": 0}
TWO_PARTS = {"parts": "pave.toy", "minimum": 2}
TEN = {"relative_tolerance": 0.1}
BETTER = {"probability": 0.9, "low": 0.7, "high": 1.0}
UNDECIDED = {"probability": 0.7, "low": 0.4, "high": 0.9}
WORSE = {"probability": 0.1, "low": 0.0, "high": 0.3}


@pytest.mark.parametrize(
    ("check", "parameters", "measured", "result"),
    [
        ("at_most", {"threshold": 1.0}, 1.0, "passes"),
        ("at_most", {"threshold": 1.0}, 1.0 + 1e-9, "fails"),
        ("at_most", {"threshold": {"a": 1.0, "b": 2.0}}, {"a": 0.5, "b": 1.5}, "passes"),
        ("at_most", {"threshold": {"a": 1.0, "b": 2.0}}, {"a": 1.5, "b": 1.5}, "fails"),
        ("at_least", {"threshold": 2}, {"a": 2, "b": 3}, "passes"),
        ("at_least", {"threshold": 2}, {"a": 2, "b": 1.9}, "fails"),
        ("within", {"low": 1, "high": 2}, 2, "passes"),
        ("within", {"low": 1, "high": 2}, 0.99, "fails"),
        ("equals_printed", {"printed": 5.0}, 5.0, "passes"),
        ("equals_printed", {"printed": 5.0}, 5.0001, "fails"),
        ("equals_printed", {"printed": -5.0, "relative_tolerance": 0.1}, -5.5, "passes"),
        ("equals_printed", {"printed": 5.0, "relative_tolerance": 0.1, "absolute_tolerance": 0.6}, 5.55, "passes"),
        ("equals_printed", {"printed": 5.0, "relative_tolerance": 0.1}, 5.55, "fails"),
        ("no_failures", {"minimum_cases": 10}, {"cases": 10, "failures": 0}, "passes"),
        ("no_failures", {"minimum_cases": 10}, {"cases": 9, "failures": 0}, "not run"),
        ("no_failures", {"minimum_cases": 10}, {"cases": 9, "failures": 1}, "fails"),
        ("no_failures", {"minimum_cases": 10}, {"cases": 1000, "failures": 1}, "fails"),
        ("interval_at_least", {"threshold": -0.1}, {"mean": 0.0, "low": -0.1, "high": 0.1}, "passes"),
        ("interval_at_least", {"threshold": -0.1}, {"mean": 0.0, "low": -0.11, "high": 0.1}, "undecided"),
        ("interval_at_least", {"threshold": -0.1}, {"mean": -0.3, "low": -0.5, "high": -0.11}, "fails"),
        ("interval_at_most", {"threshold": 1.0}, {"mean": 0.9, "low": 0.8, "high": 1.0}, "passes"),
        ("interval_at_most", {"threshold": 1.0}, {"mean": 0.9, "low": 0.8, "high": 1.1}, "undecided"),
        ("interval_at_most", {"threshold": 1.0}, {"mean": 1.2, "low": 1.1, "high": 1.3}, "fails"),
        ("mean_agrees", TEN, AGREEING, "passes"),
        ("mean_agrees", TEN, DIFFERING, "fails"),
        ("mean_agrees", TEN, WIDE, "undecided"),
        ("mean_agrees", TEN, AGREEING | {"printed_error": 1.0}, "undecided"),
        ("mean_agrees", TEN, DIFFERING | {"printed_error": 2.0}, "undecided"),
        ("mean_agrees", TEN, AGREEING | {"scale": 1.0}, "undecided"),
        ("mean_agrees", TEN, DIFFERING | {"scale": 100.0}, "passes"),
        ("mean_agrees", TEN | {"share": 0.5}, {"a": AGREEING, "b": DIFFERING}, "passes"),
        ("mean_agrees", TEN | {"share": 0.6}, {"a": AGREEING, "b": DIFFERING}, "fails"),
        ("mean_agrees", TEN | {"share": 0.5}, {"a": AGREEING, "b": None}, "passes"),
        ("mean_agrees", TEN, {"a": AGREEING, "b": None}, "not run"),
        ("mean_agrees", TEN, {"a": AGREEING, "b": WIDE}, "undecided"),
        ("mean_agrees", TEN, {"a": WIDE, "b": None}, "not run"),
        ("mean_agrees", TEN, {"a": DIFFERING, "b": None}, "fails"),
        ("ordering", {}, BETTER, "passes"),
        ("ordering", {}, UNDECIDED, "undecided"),
        ("ordering", {}, WORSE, "fails"),
        ("ordering", {"share": 0.5}, {"a": BETTER, "b": WORSE}, "passes"),
        ("ordering", {"share": 0.9}, {"a": BETTER, "b": UNDECIDED}, "undecided"),
        ("ordering", {}, {"a": WORSE, "b": UNDECIDED}, "fails"),
        ("parts_hold", TWO_PARTS, PARTS | {"hold": 2, "fail": 7}, "passes"),
        ("parts_hold", TWO_PARTS, PARTS | {"hold": 1, "fail": 7}, "fails"),
        ("parts_hold", TWO_PARTS, PARTS | {"hold": 1, "undecided": 1}, "undecided"),
        ("parts_hold", TWO_PARTS, PARTS | {"undecided": 1, "not_run": 1}, "not run"),
    ],
)
def test_a_check_decides_as_its_definition_says(check, parameters, measured, result):
    assert judge(check, parameters, measured).result == result


def test_every_check_is_exercised_above_or_has_nothing_to_decide():
    mark = next(m for m in test_a_check_decides_as_its_definition_says.pytestmark if m.name == "parametrize")
    assert {case[0] for case in mark.args[1]} | {"not_printed"} == CHECKS.keys()


def test_a_case_that_the_rule_names_and_nobody_measured_was_not_run():
    rule = {"printed": {"a": 1.0, "b": 2.0}}
    assert judge("equals_printed", rule, {"a": 1.0}).result == "not run"
    assert judge("equals_printed", rule, {"a": 1.5}).result == "fails"
    assert "not run: b" in judge("equals_printed", rule, {"a": 1.0}).detail


@given(st.dictionaries(st.text(min_size=1), st.floats(-10, 10), min_size=1))
def test_cases_pass_together_exactly_if_each_passes_alone(measured):
    alone = [judge("at_most", {"threshold": 1.0}, value).result for value in measured.values()]
    assert judge("at_most", {"threshold": 1.0}, measured).result == ("fails" if "fails" in alone else "passes")


@pytest.mark.parametrize("measured", [math.nan, math.inf, True, "1.0", [1.0], {"a": math.nan}])
def test_a_measured_value_that_is_no_finite_number_is_refused(measured):
    with pytest.raises(ValueError, match="measured value must be"):
        plain(measured)


@pytest.mark.parametrize(
    ("check", "parameters", "measured", "message"),
    [
        ("at_most", {"threshold": 1.0}, None, "not_run"),
        ("at_most", {"threshold": 1.0}, {}, "no case"),
        ("at_most", {"threshold": {"a": 1.0}}, {"b": 0.5}, "no case 'b'"),
        ("ordering", {}, {"a": 0.9}, "case 'a' must have probability, low, high"),
        ("no_failures", {"minimum_cases": 1}, 3, "must have cases, failures"),
        ("ordering", {}, {"probability": 2.0, "low": 0.9, "high": 3.0}, r"lie in \[0, 1\]"),
        ("ordering", {}, {"probability": 0.2, "low": 0.6, "high": 1.0}, "outside its interval"),
        ("mean_agrees", TEN, AGREEING | {"mean": 13.0}, "outside its interval"),
        ("mean_agrees", TEN, {"a": {"mean": 1.0, "low": 1.0, "high": 1.0, "printed": 1.0}}, "printed_error"),
        ("within", {"low": 0, "high": 1}, {"a": {"mean": 1}}, "must be a number"),
    ],
)
def test_a_measured_value_that_does_not_fit_the_check_is_refused(check, parameters, measured, message):
    with pytest.raises(ValueError, match=message):
        judge(check, parameters, measured)


def toy_claim(correction=None, check="at_most", **parameters):
    rule = claims.Rule("wetness", check, parameters or ({"threshold": 1.0} if check == "at_most" else {}))
    return claims.Claim("pave.toy", "pave", "Section 1", "Water is wet.", "theorem", "01_toy", rule, correction)


DAMP = claims.Rule("dampness", "at_least", {"threshold": 0.5})
CORRECTED_CLAIM = toy_claim(claims.Correction("Water is damp.", DAMP))
EXCEPTION_CLAIM = toy_claim(claims.Correction("Water is damp, but for ice.", DAMP, exception=True))


@pytest.mark.parametrize(
    ("claim", "measured", "corrected", "verdict"),
    [
        (toy_claim(), np.float32(0.5), None, verdicts.HOLDS),
        (toy_claim(), 1.5, None, verdicts.DOES_NOT_HOLD),
        (CORRECTED_CLAIM, 0.9, 0.9, verdicts.HOLDS),
        (CORRECTED_CLAIM, 1.5, 0.9, verdicts.CORRECTED),
        (CORRECTED_CLAIM, 1.5, 0.1, verdicts.DOES_NOT_HOLD),
        (EXCEPTION_CLAIM, 1.5, 0.9, verdicts.EXCEPTION),
        (EXCEPTION_CLAIM, 1.5, 0.1, verdicts.DOES_NOT_HOLD),
        (toy_claim(check="ordering"), UNDECIDED, None, verdicts.UNDECIDED),
        (toy_claim(check="no_failures", minimum_cases=9), {"cases": 8, "failures": 0}, None, verdicts.NOT_RUN),
        (toy_claim(check="not_printed", reason="a table is missing"), None, None, verdicts.NOT_REPRODUCIBLE),
    ],
)
def test_the_verdict_follows_from_the_rule(claim, measured, corrected, verdict):
    assert verdicts.decide(claim, measured, corrected, "file", "quick").verdict == verdict


@pytest.mark.parametrize(("claim", "corrected"), [(toy_claim(), 1.0), (CORRECTED_CLAIM, None)])
def test_a_correction_is_measured_exactly_where_the_ledger_has_one(claim, corrected):
    with pytest.raises(ValueError, match="corrected="):
        verdicts.decide(claim, 0.5, corrected, "file", "quick")


def test_the_fingerprint_follows_the_statement_and_the_rule_and_not_the_place(project):
    def fingerprint(**changes):
        project(entry(**changes))
        return claims.load_claims()["pave.toy"].fingerprint

    assert fingerprint() == fingerprint(where="Section 2")
    looser = {"measure": "wetness", "check": "at_most", "threshold": 1.1}
    changes = [
        {},
        {"rule": looser},
        {"statement": "Water is dry."},
        {"correction": CORRECTION},
        {"correction": CORRECTION | {"statement": "Water is moist."}},
        {"correction": CORRECTION | {"exception": True}},
    ]
    assert len({fingerprint(**change) for change in changes}) == len(changes)


def recorded(project, *entries, measured=0.5):
    """Run the toy notebook over `entries`, giving a verdict on pave.toy."""
    project(*entries)
    nb = repro.open_notebook("01_toy", "quick")
    nb.verdict("pave.toy", measured, artefact=nb.save_table(pd.DataFrame({"x": [measured]}), "wetness"))
    return nb


def states():
    return verdicts.scoreboard().set_index("claim")["state"].to_dict()


def test_the_scoreboard_tells_missing_stale_planned_and_decided_claims_apart(project):
    project(entry(id="pave.later"), notebook="02_planned")
    project(entry())
    assert states() == {"pave.toy": verdicts.MISSING, "pave.later": verdicts.NOT_YET_CHECKED}
    recorded(project, entry()).finish()
    assert states() == {"pave.toy": verdicts.HOLDS, "pave.later": verdicts.NOT_YET_CHECKED}
    project(entry(rule={"measure": "wetness", "check": "at_most", "threshold": 2.0}))
    assert states()["pave.toy"] == verdicts.OUT_OF_DATE


def test_a_verdict_keeps_what_it_rests_on(project):
    rule = {"measure": "wetness", "check": "equals_printed", "printed": 0.6, "relative_tolerance": 0.5}
    recorded(project, entry(rule=rule)).finish()
    row = verdicts.scoreboard().iloc[0]
    assert (row["printed"], row["measured"], row["profile"]) == ("0.6", "0.5", "quick")
    assert row["artefact"] == "tables/01_toy--wetness.csv"
    assert "within 50 %" in row["rule"]


def test_a_notebook_without_a_verdict_on_each_claim_fails_and_keeps_the_others(project):
    nb = recorded(project, entry(), entry(id="pave.forgotten"))
    with pytest.raises(MissingVerdict, match="pave.forgotten"):
        nb.finish()
    assert states() == {"pave.toy": verdicts.HOLDS, "pave.forgotten": verdicts.MISSING}


def test_a_claim_not_run_says_why(project):
    project(entry())
    nb = repro.open_notebook("01_toy", "smoke")
    with pytest.raises(ValueError, match="say why"):
        nb.not_run("pave.toy", reason=" ")
    nb.not_run("pave.toy", reason="needs a GPU")
    nb.finish()
    assert verdicts.scoreboard().iloc[0][["state", "detail"]].tolist() == [verdicts.NOT_RUN, "needs a GPU"]


def test_a_verdict_needs_an_artefact_that_exists_and_a_claim_of_its_notebook(project):
    project(entry(id="pave.later"), notebook="02_planned")
    project(entry())
    nb = repro.open_notebook("01_toy", "quick")
    with pytest.raises(FileNotFoundError, match="figures/none.png"):
        nb.verdict("pave.toy", 0.5, artefact="figures/none.png")
    with pytest.raises(ValueError, match="no claim of 01_toy"):
        nb.verdict("pave.later", 0.5, artefact="data/notebooks.yaml")


def test_a_check_that_a_wrong_formula_passes_is_refused(project, tmp_path):
    project(entry(), entry(id="pave.corrected", correction=CORRECTION))
    nb = repro.open_notebook("01_toy", "quick")
    table = nb.save_table(pd.DataFrame({"wetness": [0.5]}), "wetness")
    for broken in (0.9, [2.0, 1.0], {"a": 0.5, "b": None}):
        with pytest.raises(verdicts.BlindCheck, match="pave.toy: with a wrong formula it still reads"):
            nb.verdict("pave.toy", 0.5, artefact=table, broken=broken)
    with pytest.raises(verdicts.BlindCheck):  # the verdict rests on the correction, which asks for at least 0.5
        nb.verdict("pave.corrected", 2.0, corrected=0.6, artefact=table, broken=2.0)
    assert nb.verdict("pave.toy", 0.5, artefact=table, broken=[2.0, {"a": 2.0, "b": 0.0}]) == verdicts.HOLDS
    assert nb.verdict("pave.corrected", 2.0, corrected=0.6, artefact=table, broken=0.4) == verdicts.CORRECTED
    nb.finish()
    kept = verdicts.read_verdicts("01_toy")
    assert kept["pave.toy"].broken == (2.0, {"a": 2.0, "b": 0.0})
    assert verdicts.broken_in_words(kept["pave.toy"], claims.load_claims()["pave.toy"]) == "2 | a: 2, b: 0"


def test_an_artefact_outside_the_project_is_refused(project, tmp_path):
    project(entry())
    nb = repro.open_notebook("01_toy", "quick")
    (tmp_path.parent / "outside.csv").write_text("x")
    with pytest.raises(FileNotFoundError, match="neither in the build folder nor in the project"):
        nb.verdict("pave.toy", 0.5, artefact="../../outside.csv")


def test_a_claim_is_decided_once_in_a_notebook(project):
    nb = recorded(project, entry(), measured=1.5)
    artefact = nb.save_table(pd.DataFrame({"x": [0.5]}), "wetness")
    assert nb.verdict("pave.toy", 1.6, artefact=artefact) == verdicts.DOES_NOT_HOLD
    with pytest.raises(ValueError, match="already reads 'does not hold' and would now read 'holds'"):
        nb.verdict("pave.toy", 0.5, artefact=artefact)


def test_a_notebook_cannot_record_in_the_name_of_another(project, monkeypatch):
    project(entry())
    monkeypatch.setenv("PAPERLIB_NOTEBOOK", "02_planned")
    with pytest.raises(ValueError, match="02_planned opens itself under the name of 01_toy"):
        repro.open_notebook("01_toy", "quick")


def test_a_whole_follows_from_the_verdicts_on_its_parts(project):
    parts = [entry(id=f"pave.wet.{name}") for name in ("sea", "rain", "ice")]
    whole = entry(id="pave.whole", rule={"measure": "m", "check": "parts_hold", "parts": "pave.wet", "minimum": 2})
    project(*parts, whole)
    nb = repro.open_notebook("01_toy", "quick")
    table = nb.save_table(pd.DataFrame({"x": [0.5]}), "wetness")
    nb.verdict("pave.wet.sea", 0.5, artefact=table)
    with pytest.raises(MissingVerdict, match="pave.wet.rain, pave.wet.ice have no verdict yet"):
        nb.verdict_from_parts("pave.whole", artefact=table)
    nb.verdict("pave.wet.rain", 1.5, artefact=table)
    nb.not_run("pave.wet.ice", reason="it is summer")
    assert nb.verdict_from_parts("pave.whole", artefact=table) == verdicts.NOT_RUN
    nb.finish()
    assert verdicts.scoreboard().set_index("claim").loc["pave.whole", "measured"] == (
        "1 hold, 1 fail, 0 undecided, 1 not run"
    )


def test_the_parts_decide_a_correction_too(project):
    parts = [entry(id=f"pave.wet.{name}") for name in ("sea", "rain")]
    rule = {"measure": "how many of the parts hold", "check": "parts_hold", "parts": "pave.wet"}
    exception = rule | {"minimum": 1, "statement": "The sea is.", "exception": True}
    project(entry(id="pave.whole", rule=rule | {"minimum": 2}, correction=exception), *parts)
    nb = repro.open_notebook("01_toy", "smoke")
    table = nb.save_table(pd.DataFrame({"x": [0.5]}), "wetness")
    nb.verdict("pave.wet.sea", 0.5, artefact=table)
    nb.verdict("pave.wet.rain", 1.5, artefact=table)
    assert nb.verdict_from_parts("pave.whole", artefact=table) == verdicts.EXCEPTION


def test_a_share_of_the_cases_is_enough_where_the_rule_says_so():
    rule = {"threshold": 1.0, "share": 0.66}
    assert judge("at_most", rule, {"a": 0.5, "b": 1.0, "c": 2.0}).result == "passes"
    assert judge("at_most", rule, {"a": 0.5, "b": 1.5, "c": 2.0}).result == "fails"


def edited(project, **changes):
    """The toy notebook's verdict on pave.toy with fields of its file edited by hand."""
    recorded(project, entry()).finish()
    path = paths.verdicts_file("01_toy")
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([rows[0] | changes]))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"measured": 3.0},
        {"verdict": "holds with a correction"},
        {"verdict": "splendid"},
        {"measured": None},
        {"measured": None, "verdict": verdicts.NOT_RUN},
        {"measured": "0.5"},
        {"corrected": 0.5},
        {"artefact": "tables/none.csv"},
        {"artefact_sha256": ""},
    ],
)
def test_a_verdict_edited_by_hand_is_not_believed(project, changes):
    edited(project, **changes)
    assert states() == {"pave.toy": verdicts.UNFOUNDED}


def test_a_verdict_falls_with_its_artefact(project):
    recorded(project, entry()).finish()
    table = paths.tables_folder() / "01_toy--wetness.csv"
    content = table.read_bytes()
    table.write_text("x\n0.7\n")
    assert states() == {"pave.toy": verdicts.UNFOUNDED}
    table.unlink()
    assert states() == {"pave.toy": verdicts.UNFOUNDED}
    table.write_bytes(content)
    assert states() == {"pave.toy": verdicts.HOLDS}


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"null", b"[null]", b"{}", b"\xff\xfe", b'[{"claim": "pave.toy"}]', b'[{"colour": 1}]', "NaN", "null"],
)
def test_a_damaged_verdicts_file_is_named_and_counts_as_none(project, content):
    path = edited(project)
    if isinstance(content, str):  # as a value in a sound file
        content = path.read_text().replace('"quick"' if content == "null" else "0.5", content).encode()
    path.write_bytes(content)
    with pytest.raises(verdicts.DamagedVerdicts, match="01_toy.json is damaged"):
        verdicts.read_verdicts("01_toy")
    assert any("01_toy.json is damaged" in line for line in verdicts.irregularities())
    assert "01_toy.json is damaged" in verdicts.scoreboard().iloc[0]["detail"]
    assert states() == {"pave.toy": verdicts.MISSING}


def test_a_verdict_counts_only_in_the_file_of_its_claims_notebook(project):
    recorded(project, entry()).finish()
    project()
    project(entry(), notebook="02_planned")
    assert states() == {"pave.toy": verdicts.NOT_YET_CHECKED}
    assert "holds a verdict on pave.toy, which is no claim of 01_toy" in verdicts.irregularities()[0]


def test_verdicts_of_different_profiles_are_said_to_be_so(project):
    table = pd.DataFrame({"notebook": ["01", "01", "02", "03"], "profile": ["quick", "quick", "smoke", ""]})
    assert verdicts.mixed_profiles(table) == (
        "verdicts of different profiles: quick in 1 notebooks, smoke in 1 notebooks"
    )
    assert verdicts.mixed_profiles(table[:2]) == ""


def test_theory_runs_print_and_identities_are_counted_apart(project):
    kinds = ("theorem", "comparison", "printed", "identity", "figure")
    project(*(entry(id=f"pave.{kind}", kind=kind) for kind in kinds))
    table = verdicts.bases(verdicts.scoreboard())
    assert dict(zip(table["basis"], table["claims"], strict=True)) == {
        "theory checked": 1,
        "our runs": 2,
        "printed arithmetic": 1,
        "identities and settings": 1,
    }


def test_a_failed_write_leaves_the_earlier_verdicts(project, monkeypatch):
    nb = recorded(project, entry())
    nb.finish()
    monkeypatch.setattr(paths.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        verdicts.write_verdicts("01_toy", [])
    folder = paths.verdicts_file("01_toy").parent
    assert [path.name for path in folder.iterdir()] == ["01_toy.json"]
    assert json.loads(paths.verdicts_file("01_toy").read_text())[0]["verdict"] == verdicts.HOLDS


def test_the_environment_chooses_the_profile_before_the_parameter(project, monkeypatch):
    project()
    assert repro.open_notebook("01_toy", "quick").profile.name == "quick"
    monkeypatch.setenv("PAPERLIB_PROFILE", "smoke")
    assert repro.open_notebook("01_toy", "quick").profile.name == "smoke"
    monkeypatch.setenv("PAPERLIB_PROFILE", "huge")
    with pytest.raises(ValueError, match="PAPERLIB_PROFILE is 'huge'"):
        profiles.select_profile("quick")


def test_equal_figures_are_equal_files(tmp_path):
    def draw(folder: Path) -> list[bytes]:
        figure, axes = plt.subplots()
        axes.plot([0, 1], [1, 0])
        figures.budget_label(axes, "3 seeds")
        path = figures.save(figure, folder, "line")
        plt.close(figure)
        return [path.read_bytes(), path.with_suffix(".pdf").read_bytes()]

    assert draw(tmp_path / "a") == draw(tmp_path / "b")


def test_colours_belong_to_the_position_of_a_name():
    methods = ["Base", "CAPS", "PAVE"]
    assert figures.colours(methods)["CAPS"] == figures.colours(methods + ["GRAD"])["CAPS"]
    with pytest.raises(ValueError, match="must differ"):
        figures.colours(["Base", "Base"])


def test_each_state_of_a_claim_has_its_own_colour():
    assert set(tables.STATE_COLOURS) == set(verdicts.STATES)
    assert len(set(tables.STATE_COLOURS.values())) == len(verdicts.STATES)


def test_table_cells_cannot_inject_markup():
    html = tables.to_html(pd.DataFrame({"x": ["<b>a < b</b>"]}))
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_a_link_leads_to_a_file_beside_the_notebook_and_is_its_text_alone_in_plain_text():
    table = pd.DataFrame({"x": ["[01_toy](01_toy.ipynb)", "see [01_toy](01_toy.ipynb)", "[x](javascript:alert)"]})
    html = tables.to_html(table)
    assert html.count("<a ") == html.count('<a href="01_toy.ipynb">01_toy</a>') == 1
    assert tables.to_text(table).splitlines()[1] == "01_toy"


@pytest.fixture
def shown(monkeypatch):
    """What cells display, in order."""
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda output, raw: outputs.append(output))
    return outputs


def test_the_claims_and_the_verdicts_of_a_notebook_are_folded_below_a_line_that_counts_them(project, shown):
    project(entry(), entry(id="pave.other"))
    nb = repro.open_notebook("01_toy", "quick")
    nb.show_claims()
    table = nb.save_table(pd.DataFrame({"wetness": [0.5]}), "wetness")
    nb.verdict("pave.toy", 0.5, artefact=table)
    nb.verdict("pave.other", 2.0, artefact=table)
    nb.finish()
    summaries = [html.split("</summary>")[0] for html in (output["text/html"] for output in shown)]
    assert summaries == [
        "<details>\n<summary>2 claims this notebook checks, and the rules that decide them",
        "<details>\n<summary>2 verdicts. holds: 1; does not hold: 1",
    ]
    assert all(output["text/html"].endswith("</details>") for output in shown)
    assert [output["text/plain"].split()[0] for output in shown] == ["claim", "claim"]


def toy_claim(check, **parameters):
    rule = claims.Rule("wetness", check, parameters)
    return claims.Claim("pave.toy", "pave", "", "", "formula", "01_toy", rule, None)


@pytest.mark.parametrize(
    ("rule", "cases", "worst"),
    [
        ({"check": "at_most", "threshold": 1.0}, {"a": 0.1, "b": 3.0, "c": 2.0, "d": 0.5, "e": None}, "b: 3"),
        ({"check": "at_most", "threshold": {"a": 1, "b": 10, "c": 1, "d": 1, "e": 1}}, dict.fromkeys("abcde", 2), "a"),
        ({"check": "at_least", "threshold": 0.0}, {"a": 1.0, "b": 2.0, "c": 0.5, "d": 3.0, "e": 4.0}, "c: 0.5"),
        ({"check": "within", "low": 0.0, "high": 1.0}, {"a": 0.5, "b": 0.2, "c": 0.9, "d": 0.3, "e": 0.4}, "c: 0.9"),
        (
            {"check": "equals_printed", "printed": {"a": 1, "b": 100, "c": 1, "d": 1, "e": 1}},
            {"a": 1.2, "b": 110, "c": 1, "d": 1, "e": 1},
            "a: 1.2",
        ),
        (
            {"check": "interval_at_least", "threshold": 0.0},
            {c: {"mean": 1.0, "low": x, "high": 2.0} for c, x in zip("abcde", (0.5, 0.1, 0.9, 0.3, 0.2), strict=True)},
            "b: 1 [0.1, 2]",
        ),
        (
            {"check": "ordering"},
            {c: {"probability": 1, "low": x, "high": 1} for c, x in zip("abcde", (1, 0.7, 0.4, 1, 1), strict=True)},
            "c: 1 [0.4, 1]",
        ),
        (
            {"check": "no_failures", "minimum_cases": 1},
            {c: {"cases": 9, "failures": int(c == "d")} for c in "abcde"},
            "d: 1 failures",
        ),
    ],
)
def test_of_many_cases_the_worst_is_named(rule, cases, worst):
    of = toy_claim(**rule)
    words = verdicts.in_words(verdicts.decide(of, cases, None, "", "quick"), of)
    missing = ", 1 not run" if None in cases.values() else ""
    assert words.startswith(f"worst of 5 cases{missing}: {worst}")


def test_a_verdict_whose_cases_are_those_of_an_older_rule_still_has_words():
    of = toy_claim("at_most", threshold={"a": 1.0})
    old = verdicts.Verdict("p", verdicts.HOLDS, dict.fromkeys("vwxyz", 1.0), None, "", "", "quick", "older")
    assert verdicts.in_words(old, of) == "5 cases"
    assert (
        verdicts.in_words(dataclasses.replace(old, measured=dict.fromkeys("vwxyz")), of) == "5 cases, none of them run"
    )
