"""The step-size rules in figures: one name, colour and line for each, the same everywhere."""

from __future__ import annotations

from typing import Any

from paperlib.repro.figures import colours

RULE_LABELS = {
    "sss_slc": "SSS-SLC",
    "sss_mlc": "SSS-MLC",
    "mss_mlc": "MSS-MLC",
    "agss": "AGSS",
    "largest_guarantee": "larger guarantee (ours)",
}
"""Every rule of `paperlib.lipschitz.rules.RULES` as figures and tables name it."""

RULE_COLOURS = colours([*RULE_LABELS])


def rule_style(rule: str) -> dict[str, Any]:
    """Colour, line and label of a rule, as `Axes.plot` takes them; ValueError on an unknown rule."""
    if rule not in RULE_LABELS:
        raise ValueError(f"rule is {rule!r}; choose one of {', '.join(RULE_LABELS)}")
    line = ":" if rule == "largest_guarantee" else "-"
    return {"color": RULE_COLOURS[rule], "linestyle": line, "label": RULE_LABELS[rule]}
