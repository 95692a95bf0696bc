"""The claims ledger, the decision rules, the verdicts and the notebook's side of them."""

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
        "notebook": "01_toy",
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
    listing = {name: {"shows": "a toy", "uses": []} for name in ("01_toy", "02_planned")}
    (tmp_path / "data" / "notebooks.yaml").write_text(yaml.safe_dump(listing))

    def write_ledger(*entries):
        path = tmp_path / "data" / "claims.yaml"
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
        ({"notebook": "77_nowhere"}, "unknown notebook '77_nowhere'"),
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
        ({"rule": {"measure": "m", "check": "at_most", "threshold": 1, "share": 0.5}}, "does not take share"),
        ({"rule": {"measure": "m", "check": "ordering", "share": 1.5}}, "share must lie"),
        ({"rule": {"measure": "m", "check": "not_printed", "reason": ""}}, "reason must say why"),
        ({"rule": {"check": "at_most", "threshold": 1}}, "lacks measure"),
        ({"correction": {"measure": "m", "check": "at_most", "threshold": 1}}, "statement"),
    ],
)
def test_a_broken_entry_is_refused_with_its_line(project, changes, message):
    project(entry(id="pave.first"), entry(**changes))
    with pytest.raises(claims.LedgerError, match=message) as error:
        claims.load_claims()
    assert "claims.yaml, line 11, " in str(error.value)  # after the ten lines of the first entry


def test_an_id_used_twice_is_refused(project):
    project(entry(), entry())
    with pytest.raises(claims.LedgerError, match="pave.toy: this id is already used"):
        claims.load_claims()


def test_a_key_given_twice_is_refused(project):
    path = project(entry())
    path.write_text(path.read_text() + "  where: Section 2\n")
    with pytest.raises(claims.LedgerError, match="where given twice"):
        claims.load_claims()


AGREEING = {"mean": 10.0, "low": 8.0, "high": 12.0, "printed": 9.0}
DIFFERING = AGREEING | {"printed": 12.5}
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
        ("no_failures", {"minimum_cases": 10}, {"cases": 9, "failures": 0}, "fails"),
        ("no_failures", {"minimum_cases": 10}, {"cases": 1000, "failures": 1}, "fails"),
        ("mean_agrees", {}, AGREEING, "passes"),
        ("mean_agrees", {}, DIFFERING, "fails"),
        ("mean_agrees", {}, {"mean": 10.0, "low": 9.9, "high": 10.1, "printed": 11.0}, "passes"),
        ("mean_agrees", {}, {"mean": -10.0, "low": -10.1, "high": -9.9, "printed": -11.1}, "fails"),
        ("mean_agrees", {"share": 0.5}, {"a": AGREEING, "b": DIFFERING}, "passes"),
        ("mean_agrees", {"share": 0.6}, {"a": AGREEING, "b": DIFFERING}, "fails"),
        ("mean_agrees", {"share": 0.5}, {"a": AGREEING, "b": None}, "passes"),
        ("mean_agrees", {}, {"a": AGREEING, "b": None}, "open"),
        ("mean_agrees", {}, {"a": DIFFERING, "b": None}, "fails"),
        ("ordering", {}, BETTER, "passes"),
        ("ordering", {}, UNDECIDED, "open"),
        ("ordering", {}, WORSE, "fails"),
        ("ordering", {"share": 0.5}, {"a": BETTER, "b": WORSE}, "passes"),
        ("ordering", {"share": 0.9}, {"a": BETTER, "b": UNDECIDED}, "open"),
        ("ordering", {}, {"a": WORSE, "b": UNDECIDED}, "fails"),
    ],
)
def test_a_check_decides_as_its_definition_says(check, parameters, measured, result):
    assert judge(check, parameters, measured).result == result


def test_every_check_is_exercised_above_or_has_nothing_to_decide():
    mark = next(m for m in test_a_check_decides_as_its_definition_says.pytestmark if m.name == "parametrize")
    assert {case[0] for case in mark.args[1]} | {"not_printed"} == CHECKS.keys()


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
        ("within", {"low": 0, "high": 1}, {"a": {"mean": 1}}, "must be a number"),
    ],
)
def test_a_measured_value_that_does_not_fit_the_check_is_refused(check, parameters, measured, message):
    with pytest.raises(ValueError, match=message):
        judge(check, parameters, measured)


def toy_claim(correction=None, **rule):
    rule = claims.Rule("wetness", rule.pop("check", "at_most"), rule or {"threshold": 1.0})
    return claims.Claim("pave.toy", "pave", "Section 1", "Water is wet.", "theorem", "01_toy", rule, correction)


DAMP = claims.Rule("dampness", "at_least", {"threshold": 0.5})
CORRECTED_CLAIM = toy_claim(claims.Correction("Water is damp.", DAMP))


@pytest.mark.parametrize(
    ("claim", "measured", "corrected", "verdict"),
    [
        (toy_claim(), np.float32(0.5), None, verdicts.HOLDS),
        (toy_claim(), 1.5, None, verdicts.DOES_NOT_HOLD),
        (CORRECTED_CLAIM, 0.9, 0.9, verdicts.HOLDS),
        (CORRECTED_CLAIM, 1.5, 0.9, verdicts.CORRECTED),
        (CORRECTED_CLAIM, 1.5, 0.1, verdicts.DOES_NOT_HOLD),
        (toy_claim(check="ordering"), UNDECIDED, None, verdicts.NOT_RUN),
        (toy_claim(check="not_printed", reason="a table is missing"), None, None, verdicts.NOT_REPRODUCIBLE),
    ],
)
def test_the_verdict_follows_from_the_rule(claim, measured, corrected, verdict):
    assert verdicts.decide(claim, measured, corrected, "file", "quick").verdict == verdict


@pytest.mark.parametrize(("claim", "corrected"), [(toy_claim(), 1.0), (CORRECTED_CLAIM, None)])
def test_a_correction_is_measured_exactly_where_the_ledger_has_one(claim, corrected):
    with pytest.raises(ValueError, match="corrected="):
        verdicts.decide(claim, 0.5, corrected, "file", "quick")


def test_the_fingerprint_follows_the_rule_and_not_the_prose(project):
    def fingerprint(**changes):
        project(entry(**changes))
        return claims.load_claims()["pave.toy"].fingerprint

    assert fingerprint() == fingerprint(statement="Water is, in our words, wet.", where="Section 2")
    looser = {"measure": "wetness", "check": "at_most", "threshold": 1.1}
    assert len({fingerprint(), fingerprint(rule=looser), fingerprint(correction=CORRECTION)}) == 3


def recorded(project, *entries, measured=0.5):
    """Run the toy notebook over `entries`, giving a verdict on pave.toy."""
    project(*entries)
    nb = repro.open_notebook("01_toy", "quick")
    nb.verdict("pave.toy", measured, artefact=nb.save_table(pd.DataFrame({"x": [measured]}), "wetness"))
    return nb


def states():
    return verdicts.scoreboard().set_index("claim")["state"].to_dict()


def test_the_scoreboard_tells_missing_stale_planned_and_decided_claims_apart(project):
    planned = entry(id="pave.later", notebook="02_planned")
    project(entry(), planned)
    assert states() == {"pave.toy": verdicts.MISSING, "pave.later": verdicts.NOT_YET_CHECKED}
    recorded(project, entry(), planned).finish()
    assert states() == {"pave.toy": verdicts.HOLDS, "pave.later": verdicts.NOT_YET_CHECKED}
    project(entry(rule={"measure": "wetness", "check": "at_most", "threshold": 2.0}), planned)
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
    project(entry(), entry(id="pave.later", notebook="02_planned"))
    nb = repro.open_notebook("01_toy", "quick")
    with pytest.raises(FileNotFoundError, match="figures/none.png"):
        nb.verdict("pave.toy", 0.5, artefact="figures/none.png")
    with pytest.raises(ValueError, match="no claim of 01_toy"):
        nb.verdict("pave.later", 0.5, artefact="data/claims.yaml")


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
