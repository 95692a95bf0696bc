"""Committed outputs: executed notebooks without the traces of their execution, and their verdicts."""

import copy

import nbformat
import pandas as pd

from paperlib.repro import paths, verdicts
from paperlib.repro.catalogue import CatalogueEntry
from paperlib.repro.pipeline import DONE, NEVER_RUN, condition, executed_profile

PUBLISHED_PROFILE = "quick"
"""The profile whose outputs are committed."""
_INJECTED_TAGS = {"injected-parameters", "papermill-error-cell-tag"}


def publish(entry: CatalogueEntry) -> bool:
    """Copy an executed notebook's outputs into the committed one, without traces of the execution; True if it changed.

    Raises ValueError unless the notebook is up to date at the published profile.
    """
    state, profile = condition(entry), executed_profile(entry)
    if profile != PUBLISHED_PROFILE or state != DONE:
        state = "not executed yet" if state == NEVER_RUN else f"{state} at profile {profile or 'unknown'}"
        advice = f"paperlib run {entry.name} --profile {PUBLISHED_PROFILE}"
        raise ValueError(f"nothing to publish: {entry.name} is {state}; {advice} comes first")
    cleaned = without_execution_traces(nbformat.read(paths.executed_notebook(entry.name), as_version=4))
    content = nbformat.writes(cleaned) + "\n"
    if content == entry.source.read_text(encoding="utf-8"):
        return False
    paths.write_atomically(entry.source, content)
    return True


def publish_verdicts() -> bool:
    """Write data/verdicts.csv, the verdicts behind the committed outputs; True if it changed.

    A row per claim: claim, basis, verdict, fingerprint of its statement and rule, and `detail`, which says what a
    verdict still lacks. Raises ValueError if a claim has no acceptable verdict of the published profile.
    """
    board = verdicts.scoreboard()
    lacking = board[board["state"].isin(verdicts.UNACCEPTABLE) | (board["profile"] != PUBLISHED_PROFILE)]
    lacking = lacking[lacking["state"] != verdicts.NOT_YET_CHECKED]
    if len(lacking):
        raise ValueError(
            f"no verdicts to publish: {len(lacking)} claims lack theirs, such as {lacking.iloc[0]['claim']}"
        )
    content = board[["claim", "basis", "state", "fingerprint", "detail"]].to_csv(index=False)
    path = paths.published_verdicts()
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return False
    paths.write_atomically(path, content)
    return True


def published_verdicts() -> pd.DataFrame:
    """The verdicts behind the committed outputs, as `publish_verdicts` wrote them."""
    return pd.read_csv(paths.published_verdicts(), keep_default_na=False)


def without_execution_traces(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A copy without injected cells, timings, paths and warnings, cells numbered from 1."""
    cleaned = copy.deepcopy(notebook)
    cleaned.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    cleaned.cells = [cell for cell in cleaned.cells if not _INJECTED_TAGS & set(cell.metadata.get("tags", []))]
    number = 0
    for cell in cleaned.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if cell.cell_type == "code":
            number += 1
            cell.execution_count = number
            outputs = [_cleaned_output(output, number) for output in cell.outputs if not _is_stderr(output)]
            cell.outputs = _joined_prints(outputs)
    return cleaned


def _is_stderr(output: nbformat.NotebookNode) -> bool:
    return output.output_type == "stream" and output.name == "stderr"


def _joined_prints(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with consecutive prints in one: where a kernel cuts them depends on how busy the machine is."""
    joined: list[nbformat.NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _cleaned_output(output: nbformat.NotebookNode, number: int) -> nbformat.NotebookNode:
    if output.output_type == "execute_result":
        output.execution_count = number
    return output
