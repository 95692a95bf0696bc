"""The step-size rules in figures."""

import pytest

from paperlib.lipschitz.figures import RULE_COLOURS, RULE_LABELS, rule_style
from paperlib.lipschitz.rules import RULES


def test_every_rule_has_its_own_name_and_colour():
    assert set(RULE_LABELS) == set(RULE_COLOURS) == set(RULES)
    assert len(set(RULE_LABELS.values())) == len(set(RULE_COLOURS.values())) == len(RULES)


def test_a_rule_is_drawn_in_its_colour_under_its_name():
    for rule in RULES:
        style = rule_style(rule)
        assert (style["color"], style["label"]) == (RULE_COLOURS[rule], RULE_LABELS[rule])


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="sss_mlc"):
        rule_style("sss")
