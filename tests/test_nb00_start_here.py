"""Notebook 00's rooms: the map has every notebook and leads forward; the findings say what records and verdicts say."""

import re

import matplotlib.pyplot as plt
import nbformat
import pytest

from paperlib.notebooks.nb00_start_here import findings, overview
from paperlib.repro import catalogue, claims, verdicts


def test_the_map_has_every_notebook_but_this_one_and_the_scoreboard():
    numbers = {name[:2] for name in catalogue.load_catalogue()} - {"00", "18"}
    assert set(overview.NEEDS) == numbers


def test_a_notebook_needs_earlier_ones_only():
    assert all(one < number for number, before in overview.NEEDS.items() for one in before)


def test_every_written_notebook_is_linked_from_the_first():
    first = next(entry for entry in catalogue.existing_notebooks())
    text = "\n".join(c.source for c in nbformat.read(first.source, as_version=4).cells if c.cell_type == "markdown")
    wanted = {entry.name for entry in catalogue.existing_notebooks()} - {first.name}
    assert wanted <= set(re.findall(r"\]\(([\w]+)\.ipynb\)", text))


def test_each_box_of_the_map_names_its_notebook():
    figure = overview.needs()
    words = " ".join(text.get_text() for text in figure.axes[0].texts).replace("\n", " ")
    plt.close(figure)
    assert all(number in words for number in overview.NEEDS)
    assert "critic geometry" in words


@pytest.fixture(scope="module")
def found():
    return findings.findings()


def test_there_are_five_findings_of_two_sentences(found):
    assert len(found) == 5
    assert [len(re.findall(r"[.!?)](?=\s+[A-Z]|$)", finding.text)) for finding in found] == [2] * 5


def test_a_finding_names_claims_of_the_ledger_with_their_published_verdicts(found):
    text, ledger = findings.in_markdown(found), claims.load_claims()
    assert all(claim in ledger for finding in found for claim in finding.claims)
    named = re.findall(r"`([\w.]+)`: ([\w ,]+?)[;*]", text)
    assert [claim for claim, _ in named] == [claim for finding in found for claim in finding.claims]
    assert {state for _, state in named} <= {*verdicts.STATES}


def test_the_counts_in_the_findings_are_those_of_the_verdicts():
    published = findings.published_states()
    words = findings.what_became_of(published, ("13",), (claims.THEORY,))
    part = published[(published["notebook"] == "13_step_size_rules") & (published["basis"] == claims.THEORY)]
    assert words.startswith(f"of {len(part)} claims {(part['state'] == verdicts.HOLDS).sum()} hold as printed")
    none = findings.what_became_of(part.assign(state=verdicts.HOLDS), ("13",), (claims.THEORY,))
    assert (
        none
        == f"of {len(part)} claims {len(part)} hold as printed, 0 with a correction or an exception, and none does not"
    )
