"""RESULTS.md is what the recorded tables say."""

import re

from paperlib import results_page
from paperlib.pave.records import printed_tables
from paperlib.pave.records.scores import recorded_runs
from paperlib.repro import claims, paths, publishing, verdicts


def test_the_committed_pages_have_not_drifted_from_the_recorded_tables():
    for name, content in (("RESULTS.md", results_page.page()), ("README.md", results_page.readme())):
        assert (paths.project_folder() / name).read_text() == content, f"run `make results` and commit {name}"


def test_every_cell_of_the_two_tables_is_there_with_its_runs_or_not_run():
    page, runs = results_page.page(), recorded_runs()
    cells = [(e, a, m) for e in printed_tables.ENVIRONMENTS for a in ("td3", "sac") for m in printed_tables.METHODS]
    recorded = sum(runs.has(*cell) for cell in cells)
    assert page.count("<br>not run") == 2 * (len(cells) - recorded)
    assert len(re.findall(r"<br>\*\*.*?\(5\)", page)) == 2 * recorded


def test_the_page_begins_with_how_much_is_recorded():
    first = results_page.page().splitlines()[2]
    assert re.match(r"Recorded at the papers' budgets: \d+ of 300 runs of PAVE's Tables 1 and 2, ", first)
    assert first == results_page.recorded_share()


def test_the_published_verdicts_are_on_the_claims_of_the_ledger_by_their_present_rules():
    board = publishing.published_verdicts()
    assert dict(zip(board["claim"], board["fingerprint"], strict=True)) == {
        claim.id: claim.fingerprint for claim in claims.load_claims().values()
    }, "run `make publish` and commit data/verdicts.csv"
    assert set(board["state"]) <= {*verdicts.VERDICTS, verdicts.NOT_YET_CHECKED}


def test_the_page_counts_what_verdicts_rest_on_apart():
    table = results_page.verdicts_by_basis()
    assert list(table["rests on"]) == list(claims.BASES)
    assert table["claims"].sum() == len(claims.load_claims())
