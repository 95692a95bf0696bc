"""How the outcomes of many cases become what a claim's rule takes."""

from __future__ import annotations

from collections.abc import Iterable


def count(outcomes: Iterable) -> dict[str, int]:
    """{cases, failures} of an iterable of "does it hold"."""
    outcomes = [bool(outcome) for outcome in outcomes]
    return {"cases": len(outcomes), "failures": outcomes.count(False)}
