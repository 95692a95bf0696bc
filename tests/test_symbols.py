"""docs/symbols.md has every symbol that the statements of the ledger use, each with its meaning."""

import re
from pathlib import Path

from paperlib.repro import claims

PAGE = Path(__file__).parents[1] / "docs" / "symbols.md"
OPERATORS = {
    *(r"\nabla", r"\partial", r"\top", r"\sum", r"\int", r"\frac", r"\tfrac", r"\sqrt", r"\langle", r"\rangle"),
    *(r"\le", r"\ge", r"\to", r"\in", r"\approx", r"\cdot", r"\pm", r"\sim", r"\propto", r"\infty", r"\hat", r"\dot"),
    *(r"\sup", r"\max", r"\min", r"\arctan", r"\tan", r"\sin", r"\cos", r"\log", r"\exp", r"\Pr"),
    *(r"\mathrm", r"\mathcal", r"\mathbb"),
}
ABBREVIATIONS = re.compile(r"\\mathrm\s*\{(?:TD|MPR|VFC|Curv|tr|diag|rank)\}|\bTV\b|\bdt\b")


def atoms(text: str) -> set[str]:
    """Letters and Greek letters of all formulas in a text, without operators."""
    formulas = " ".join(re.findall(r"\$+([^$]+)\$+", text))
    words = set(ABBREVIATIONS.findall(formulas))
    letters = re.findall(r"\\[A-Za-z]+|[A-Za-z]", ABBREVIATIONS.sub(" ", formulas).replace("~", " "))
    return (words | set(letters)) - OPERATORS - {"dt"}


def rows() -> list[list[str]]:
    """The cells of all rows that explain a symbol."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| $")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_symbol_of_the_ledger_is_explained():
    texts = [
        text
        for claim in claims.load_claims().values()
        for text in (claim.statement, claim.correction.statement if claim.correction else "")
    ]
    explained = atoms(" ".join(symbols for symbols, *_ in rows()))
    assert sorted(atoms(" ".join(texts)) - explained) == []


def test_each_row_says_what_its_symbols_mean():
    assert [row for row in rows() if len(row) != 4 or not row[1]] == []
