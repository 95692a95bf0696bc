"""Notebook 18's room: the headline counts every claim once, the page holds them all and needs no script."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pandas as pd
import pytest

from paperlib.notebooks.nb18_scoreboard import board as scoreboard
from paperlib.repro import claims, publishing, verdicts


@pytest.fixture(scope="module")
def board():
    """The published verdicts as a scoreboard, with the ledger's own statements."""
    ledger = claims.load_claims()
    published = publishing.published_verdicts().set_index("claim")["state"]
    rows = [
        {
            **dict.fromkeys(("printed", "measured", "detail"), ""),
            **{"claim": c.id, "paper": c.paper, "notebook": c.notebook, "basis": c.basis, "where": c.where},
            **{"statement": c.statement, "state": published.get(c.id, verdicts.NOT_RUN), "rule": c.rule.words},
        }
        for c in ledger.values()
    ]
    return pd.DataFrame(rows)


def test_the_headline_counts_every_claim_once(board):
    table = scoreboard.headline(board)
    columns = [*scoreboard.DECIDED, *scoreboard.OPEN]
    assert table["claims"].sum() == len(board) == table[columns].to_numpy().sum()
    assert (table[list(scoreboard.DECIDED)].sum(axis=1) == table["decided"]).all()


def test_every_state_of_a_claim_has_one_column_of_the_headline():
    counted = [state for states in (scoreboard.DECIDED | scoreboard.OPEN).values() for state in states]
    assert sorted(counted) == sorted(verdicts.STATES)


def test_printed_arithmetic_and_identities_are_no_evidence_and_have_rows_of_their_own(board):
    table = scoreboard.headline(board)
    no_evidence = table[table["evidence"] == "no"]
    assert set(no_evidence["rests on"]) == {claims.PRINTED, claims.IDENTITY}
    assert no_evidence["claims"].sum() == board["basis"].isin([claims.PRINTED, claims.IDENTITY]).sum()


def test_what_does_not_hold_is_listed_by_paper(board):
    lists = [scoreboard.not_as_printed(board, paper, [verdicts.DOES_NOT_HOLD]) for paper in scoreboard.PAPERS]
    assert sum(map(len, lists)) == (board["state"] == verdicts.DOES_NOT_HOLD).sum() > 0
    assert all(claim.startswith("pave.") for claim in lists[0]["claim"])


class Reader(HTMLParser):
    """What a browser that runs no script has: the rows, the folds that are open, tags left open."""

    def __init__(self):
        super().__init__()
        self.rows, self.open_folds, self.stack = [], 0, []

    def handle_starttag(self, tag, attributes):
        self.stack.append(tag)
        if tag == "tr" and "data-verdict" in dict(attributes):
            self.rows.append(dict(attributes))
        self.open_folds += tag == "details" and "open" in dict(attributes)

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_the_page_holds_every_claim_in_a_closed_fold_of_its_notebook(board):
    reader = Reader()
    reader.feed(page := scoreboard.page(board))
    assert reader.stack == []
    assert reader.open_folds == 0
    assert [row["data-verdict"] for row in reader.rows] == [
        state for _, part in board.groupby("notebook", sort=False) for state in part["state"]
    ]
    assert page.count("<details>") == board["notebook"].nunique()
    assert all(f'<a href="{name}.ipynb">' in page for name in set(board["notebook"]))


def test_a_statement_cannot_inject_markup(board):
    assert "<b>" not in scoreboard.page(board.head(1).assign(statement="<b>bold</b>"))


BROWSER = """
const rows = ROWS.map(([verdict, basis, textContent]) => ({dataset: {verdict, basis}, textContent, style: {}}));
const folds = FOLDS.map((held) => ({style: {}, contains: (row) => held.includes(rows.indexOf(row))}));
const bar = {append(...controls) { this.controls = controls; }};
const board = {querySelectorAll: (what) => (what === "details" ? folds : rows), querySelector: () => bar};
class Option { constructor(text, value) { Object.assign(this, {text, value}); } }
const element = (tag) => ({tag, value: "", options: [], add(option) { this.options.push(option.value); }});
const document = {getElementById: () => board, createElement: element};
SCRIPT
const [word, verdict, basis, count] = bar.controls;
const now = () => ({
  shown: rows.map((row) => row.style.display !== "none"),
  open: folds.map((fold) => fold.open),
  count: count.textContent,
});
const seen = [now(), verdict.options, basis.options];
verdict.value = "holds"; verdict.oninput(); seen.push(now());
word.value = "LEMMA"; word.oninput(); seen.push(now());
verdict.value = word.value = ""; basis.value = "our runs"; basis.oninput(); seen.push(now());
console.log(JSON.stringify(seen));
"""
"""A page of rows and folds, as little of a browser as the filter needs."""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_filter_shows_what_fits_and_opens_its_folds(board, tmp_path):
    (script,) = re.findall(r"<script>\n(.*)</script>", scoreboard.page(board), re.DOTALL)
    rows = [
        ["holds", "theory checked", "lemma 1"],
        ["undecided", "our runs", "lemma 2"],
        ["holds", "our runs", "tables"],
    ]
    made = {"ROWS": json.dumps(rows), "FOLDS": "[[0, 1], [2]]", "SCRIPT": script}
    page = re.sub("ROWS|FOLDS|SCRIPT", lambda name: made[name[0]], BROWSER)
    (tmp_path / "page.js").write_text(page)
    done = subprocess.run(["node", tmp_path / "page.js"], check=True, capture_output=True, text=True)
    every, verdict_options, basis_options, holds, lemmas, runs = json.loads(done.stdout)
    assert every == {"shown": [True] * 3, "open": [False, False], "count": " 3 of 3 claims"}
    assert (verdict_options, basis_options) == (["", "holds", "undecided"], ["", "theory checked", "our runs"])
    assert holds == {"shown": [True, False, True], "open": [True, True], "count": " 2 of 3 claims"}
    assert lemmas == {"shown": [True, False, False], "open": [True, False], "count": " 1 of 3 claims"}
    assert runs["shown"] == [False, True, True]
