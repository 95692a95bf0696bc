"""The scoreboard as tables and as one page: what holds by paper and evidence; every claim, folded, with a filter."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable

import pandas as pd

from paperlib.repro import claims, tables, verdicts

PAPERS = {"pave": "PAVE", "lipschitz": "Lipschitz step sizes", "ours": "of our own"}
"""What a reader calls the papers of the ledger."""
DECIDED = {
    "hold": (verdicts.HOLDS,),
    "hold, corrected": (verdicts.CORRECTED,),
    "hold, with an exception": (verdicts.EXCEPTION,),
    "do not hold": (verdicts.DOES_NOT_HOLD,),
}
OPEN = {
    "undecided": (verdicts.UNDECIDED,),
    "not printed": (verdicts.NOT_REPRODUCIBLE,),
    "not run": (verdicts.NOT_RUN, verdicts.NOT_YET_CHECKED, *verdicts.UNACCEPTABLE),
}
"""Columns of the headline, with the states that each counts: verdicts, and what is in place of one."""
_EVIDENCE = (claims.THEORY, claims.RUNS)
_COLUMNS = {
    **{name: name for name in ("claim", "where", "statement")},
    **{"state": "verdict", "printed": "printed", "measured": "measured", "rule": "holds if", "detail": "why"},
}
"""Of the scoreboard, what the page shows, and under which name."""


def headline(board: pd.DataFrame) -> pd.DataFrame:
    """A row per paper and per thing that verdicts rest on, evidence first: how many claims, and what became of them."""
    rows = [
        {"paper": name, "rests on": basis, "evidence": "yes" if basis in _EVIDENCE else "no"} | _numbers(part)
        for basis in claims.BASES
        for paper, name in PAPERS.items()
        if len(part := board[(board["paper"] == paper) & (board["basis"] == basis)])
    ]
    return pd.DataFrame(rows)


def _numbers(part: pd.DataFrame) -> dict[str, int]:
    counts = {name: int(part["state"].isin(states).sum()) for name, states in (DECIDED | OPEN).items()}
    return {"claims": len(part), "decided": sum(counts[name] for name in DECIDED)} | counts


def not_as_printed(board: pd.DataFrame, paper: str, states: Iterable[str]) -> pd.DataFrame:
    """A paper's claims in these states: what they rest on, what is claimed, what was measured, what holds instead."""
    part = board[(board["paper"] == paper) & board["state"].isin(list(states))]
    return part[["claim", "basis", "statement", "measured", "detail"]].rename(columns={"basis": "rests on"})


def page(board: pd.DataFrame) -> str:
    """All claims as HTML: a fold per notebook whose line counts its verdicts.

    Where scripts run, a bar above them filters by word, verdict and evidence; elsewhere the folds alone are there.
    """
    folds = "\n".join(_fold(str(notebook), part) for notebook, part in board.groupby("notebook", sort=False))
    identity = "claims-" + hashlib.sha256(folds.encode()).hexdigest()[:8]
    script = _FILTER.replace("IDENTITY", identity)
    return f'<div id="{identity}">\n<p class="filter"></p>\n{folds}\n</div>\n<script>\n{script}</script>'


def _fold(notebook: str, part: pd.DataFrame) -> str:
    counts = "; ".join(f"{state}: {n}" for state in verdicts.STATES if (n := int((part["state"] == state).sum())))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in _COLUMNS.values())
    body = "\n".join(_row(row) for row in part.to_dict("records"))
    link = f'<p><a href="{notebook}.ipynb">{notebook}</a></p>'
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
    return tables.folded(f"{link}\n{table}", f"{notebook}, {len(part)} claims. {counts}")


def _row(row: dict[str, str]) -> str:
    cells = "".join(
        f'<td style="text-align: left; vertical-align: top; {tables.state_style(row[column])}">'
        f"{tables.cell_html(row[column])}</td>"
        for column in _COLUMNS
    )
    return f'<tr data-verdict="{html.escape(row["state"])}" data-basis="{html.escape(row["basis"])}">{cells}</tr>'


_FILTER = """(() => {
  const board = document.getElementById("IDENTITY");
  const rows = [...board.querySelectorAll("tr[data-verdict]")];
  const [word, verdict, basis, count] = ["input", "select", "select", "span"].map((tag) => document.createElement(tag));
  word.placeholder = "a word";
  for (const [select, key, all] of [[verdict, "verdict", "any verdict"], [basis, "basis", "resting on anything"]]) {
    select.add(new Option(all, ""));
    new Set(rows.map((row) => row.dataset[key])).forEach((value) => select.add(new Option(value, value)));
  }
  const fits = (row) =>
    (!verdict.value || row.dataset.verdict === verdict.value) &&
    (!basis.value || row.dataset.basis === basis.value) &&
    row.textContent.toLowerCase().includes(word.value.toLowerCase());
  const filter = () => {
    const shown = rows.filter(fits);
    rows.forEach((row) => { row.style.display = shown.includes(row) ? "" : "none"; });
    for (const fold of board.querySelectorAll("details")) {
      const some = shown.some((row) => fold.contains(row));
      fold.style.display = some ? "" : "none";
      fold.open = some && Boolean(word.value || verdict.value || basis.value);
    }
    count.textContent = ` ${shown.length} of ${rows.length} claims`;
  };
  [word, verdict, basis].forEach((control) => { control.oninput = filter; });
  board.querySelector(".filter").append(word, verdict, basis, count);
  filter();
})();
"""
