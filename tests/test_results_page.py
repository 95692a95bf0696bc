"""RESULTS.md is what the recorded tables say."""

import re

from paperlib import results_page
from paperlib.pave import printed_tables
from paperlib.pave.recorded_runs import recorded_runs
from paperlib.repro import paths


def test_the_committed_page_has_not_drifted_from_the_recorded_tables():
    committed = (paths.project_folder() / "RESULTS.md").read_text()
    assert committed == results_page.page(), "run `make results` and commit RESULTS.md"


def test_every_cell_of_the_two_tables_is_there_with_its_runs_or_not_run():
    page, runs = results_page.page(), recorded_runs()
    cells = [(e, a, m) for e in printed_tables.ENVIRONMENTS for a in ("td3", "sac") for m in printed_tables.METHODS]
    recorded = sum(runs.has(*cell) for cell in cells)
    assert page.count("<br>not run") == 2 * (len(cells) - recorded)
    assert len(re.findall(r"<br>\*\*.*?\(5\)", page)) == 2 * recorded
