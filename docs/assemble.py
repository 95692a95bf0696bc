"""The sources of the book, in one folder for Sphinx: the notebooks, these pages, and a page for every claim."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
from pathlib import Path

from paperlib.repro import paths
from paperlib.repro.catalogue import existing_notebooks
from paperlib.repro.claims import Claim, load_claims

HERE = Path(__file__).parent
PLUMBING = re.compile(r"\s*(import |from |profile = |nb\.(show_claims|show_table|save_figure|finish)\()")
"""How cells begin that set up, or show what others made."""
CHECKED_IN = re.compile(r"""nb\.verdict(?:_from_parts)?\(\s*["']([a-z0-9_.]+)["']""")


def main(folder: Path) -> None:
    """Write everything into `folder`, which is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "static", folder / "static")
    names, claims = [entry.name for entry in existing_notebooks()], load_claims()
    (folder / "notebooks").mkdir()
    for name in names:
        notebook = json.loads((paths.notebooks_folder() / f"{name}.ipynb").read_text())
        (folder / "notebooks" / f"{name}.ipynb").write_text(json.dumps(_for_readers(notebook, set(claims))))
    index = (HERE / "index.md").read_text().replace("@NOTEBOOKS@", "\n".join(f"notebooks/{name}" for name in names))
    (folder / "index.md").write_text(index)
    for page in HERE.glob("*.md"):
        if page.name != "index.md":
            shutil.copy(page, folder)
    (folder / "results.md").write_text(_results())
    (folder / "claims").mkdir()
    _write_claims(folder / "claims", claims)


def _for_readers(notebook: dict, claims: set[str]) -> dict:
    """The notebook with its claims linked to their pages, and with plumbing folded."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            linked = re.sub(r"`([a-z0-9_]+(?:\.[a-z0-9_]+)+)`", lambda match: _link(match, claims), source)
            linked = re.sub(r"\[([^\]]*)\]\(\.\./(?!docs/|claims/)[^)]*\)", r"\1", linked)  # files that are no pages
            cell["source"] = linked.replace("](../docs/", "](../").splitlines(keepends=True)
            continue
        if PLUMBING.match(source):
            cell["metadata"].setdefault("tags", []).append("hide-input")
        for output in cell["outputs"]:
            for kind in {"text/html", "text/markdown"} & output.get("data", {}).keys():
                shown = "".join(output["data"][kind])
                output["data"][kind] = re.sub(r"\.ipynb(?=[\")])", ".html", shown)
    return notebook


def _link(match: re.Match, claims: set[str]) -> str:
    return f"[{match[0]}](../claims/{match[1]}.md)" if match[1] in claims else match[0]


def _results() -> str:
    """RESULTS.md; links to what is not part of the book become plain text."""
    text = (paths.project_folder() / "RESULTS.md").read_text()
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#|notebooks/)[^)]*\)", r"\1", text)


def _write_claims(folder: Path, claims: dict[str, Claim]) -> None:
    with paths.published_verdicts().open() as file:
        verdicts = {row["claim"]: row for row in csv.DictReader(file)}
    for claim in claims.values():
        (folder / f"{claim.id}.md").write_text(_claim_page(claim, verdicts.get(claim.id)))
    rows = "\n".join(_row(claim, verdicts.get(claim.id)) for claim in claims.values())
    states = sorted({row["state"] for row in verdicts.values()})
    (folder / "index.md").write_text(_CLAIMS_PAGE.format(rows=rows, states=_options(states)))


def _options(values: list[str]) -> str:
    return "".join(f"<option>{html.escape(value)}</option>" for value in values)


def _row(claim: Claim, verdict: dict[str, str] | None) -> str:
    state = verdict["state"] if verdict else "no verdict"
    cells = (
        f'<a href="{claim.id}.html">{claim.id}</a>',
        html.escape(claim.where),
        html.escape(state),
        claim.notebook[:2],
    )
    words = html.escape(claim.statement, quote=True)
    attributes = f'data-verdict="{html.escape(state)}" data-paper="{claim.paper}" data-words="{words}"'
    return f"<tr {attributes}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _claim_page(claim: Claim, verdict: dict[str, str] | None) -> str:
    """Statement, where printed, rule, verdict, and the cell that computed it."""
    state = f"**{verdict['state']}**. {verdict['detail']}" if verdict else "no verdict recorded"
    lines = [
        f"({claim.id})=",
        f"# {claim.id}",
        claim.statement,
        f"*{claim.where}*",
        "## Verdict",
        state,
        "## Rule",
        f"Measured: {claim.rule.measure}. Holds if: {claim.rule.words}.",
    ]
    if claim.correction:
        rule = claim.correction.rule
        lines += ["## Correction", claim.correction.statement, f"Measured: {rule.measure}. Holds if: {rule.words}."]
    lines += ["## Where it is computed", f"[Notebook {claim.notebook}](../notebooks/{claim.notebook}.ipynb)"]
    if cell := _cell_of(claim):
        lines += ["```python", cell, "```"]
    return "---\norphan: true\n---\n\n" + "\n\n".join(lines) + "\n"


def _cell_of(claim: Claim) -> str | None:
    """The source of the cell that records the claim's verdict."""
    notebook = json.loads((paths.notebooks_folder() / f"{claim.notebook}.ipynb").read_text())
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and claim.id in CHECKED_IN.findall(source):
            return source
    return None


_CLAIMS_PAGE = """# All claims

Each claim has a page of its own: the statement, the rule that was fixed before anything was run, the verdict, and the
cell that computed it.

<div class="claims-filter">
<input id="claims-text" type="search" placeholder="words" aria-label="words">
<select id="claims-verdict" aria-label="verdict"><option value="">every verdict</option>{states}</select>
<select id="claims-paper" aria-label="paper"><option value="">both papers and ours</option>
<option value="pave">PAVE</option><option value="lipschitz">Lipschitz MDPs</option>
<option value="ours">ours</option></select>
<span id="claims-count" role="status"></span>
</div>
<div class="claims-scroll">
<table class="claims">
<thead><tr>
<th data-sort>claim</th><th data-sort>where</th><th data-sort>verdict</th><th data-sort>notebook</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
"""


if __name__ == "__main__":
    main(Path(sys.argv[1]))
