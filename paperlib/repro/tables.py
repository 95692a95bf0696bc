"""Tables as a notebook shows them: styled HTML beside plain text that is the same on every machine."""

import hashlib
import html
import re

import pandas as pd

from paperlib.repro import verdicts

STATE_COLOURS = {
    verdicts.HOLDS: "#009E73",
    verdicts.CORRECTED: "#56B4E9",
    verdicts.EXCEPTION: "#0072B2",
    verdicts.DOES_NOT_HOLD: "#D55E00",
    verdicts.UNDECIDED: "#F0E442",
    verdicts.NOT_REPRODUCIBLE: "#CC79A7",
    verdicts.NOT_RUN: "#E69F00",
    verdicts.NOT_YET_CHECKED: "#BBBBBB",
    verdicts.MISSING: "#000000",
    verdicts.OUT_OF_DATE: "#666666",
    verdicts.UNFOUNDED: "#882255",
}
"""One colour per state of a claim, in tables and figures alike, distinguishable by colour-blind readers."""

_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[\w./-]+)\)")
"""A cell that is a link in Markdown, to a file beside the notebook: one in HTML too, its text alone in plain text."""

_DARK = {*verdicts.UNACCEPTABLE, verdicts.DOES_NOT_HOLD, verdicts.HOLDS, verdicts.EXCEPTION}


def show(table: pd.DataFrame, caption: str = "") -> None:
    """Display `table` as the output of the cell."""
    display(to_html(table, caption), to_text(table))


def show_folded(table: pd.DataFrame, summary: str) -> None:
    """Display `summary` alone, the table below it on a click; in plain text the whole table."""
    display(folded(to_html(table), summary), to_text(table))


def display(in_html: str, in_text: str) -> None:
    """Display HTML, and plain text where there is no browser, as the output of the cell."""
    from IPython.display import display as show_output  # only where a notebook runs

    show_output({"text/html": in_html, "text/plain": in_text}, raw=True)


def display_markdown(text: str) -> None:
    """Display Markdown as the output of the cell, as it stands where there is no browser."""
    from IPython.display import display as show_output  # only where a notebook runs

    show_output({"text/markdown": text, "text/plain": text}, raw=True)


def folded(content: str, summary: str) -> str:
    """HTML that shows `summary`, and the HTML `content` below it once a reader opens it; no script is needed."""
    return f"<details>\n<summary>{html.escape(summary)}</summary>\n{content}\n</details>"


def to_text(table: pd.DataFrame) -> str:
    """Plain text, columns aligned to the left."""
    cells = [[_cell_text(value) for value in row] for row in table.itertuples(index=False)]
    rows = [[str(column) for column in table.columns], *cells]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def to_html(table: pd.DataFrame, caption: str = "") -> str:
    """HTML with wrapped cells; formulas between dollar signs are typeset by the reader's Jupyter."""
    identity = hashlib.sha256((caption + to_text(table)).encode()).hexdigest()[:8]
    cell = [("text-align", "left"), ("vertical-align", "top"), ("white-space", "normal"), ("max-width", "36em")]
    style = table.style.hide(axis="index").format(_linked, escape="html").set_uuid(identity).map(state_style)
    style = style.set_table_styles([{"selector": "th, td", "props": cell}])
    return (style.set_caption(caption) if caption else style).to_html()


def cell_html(value: object) -> str:
    """One cell as HTML: nothing in it is markup, but for a cell that is a link in Markdown and nothing else."""
    return _linked(html.escape(_cell(value)))


def _linked(escaped: object) -> str:
    text = _cell(escaped)
    link = _LINK.fullmatch(text)
    return f'<a href="{link["target"]}">{link["text"]}</a>' if link else text


def _cell_text(value: object) -> str:
    link = _LINK.fullmatch(_cell(value))
    return link["text"] if link else _cell(value)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def state_style(value: object) -> str:
    """CSS of a cell that holds the state of a claim, empty for any other."""
    if not isinstance(value, str) or value not in STATE_COLOURS:
        return ""
    return f"background-color: {STATE_COLOURS[value]}; color: {'white' if value in _DARK else 'black'}"
