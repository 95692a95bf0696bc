"""Notebook 12's slack of Theorem 3, and its functions on the line."""

import numpy as np
import pytest

from paperlib.lipschitz import constants as chain
from paperlib.lipschitz.kantorovich import kantorovich_on_line
from paperlib.notebooks.nb12_policy_gradient_is_lipschitz import measures
from paperlib.notebooks.shared.grid_family import Family
from paperlib.notebooks.shared.policy_pair import change


def test_the_links_of_the_waterfall_multiply_up_to_the_slack_of_theorem_3():
    for pair in Family(10).pairs:
        ratios = change(pair.grad_J) / (chain.gradient_lipschitz(*pair.constants.as_library()) * pair.d)
        links = measures.slack(pair)
        assert sum(links.values()) == pytest.approx(-np.log10(ratios.max()), abs=1e-9)
        assert all(decades > -1e-9 for decades in links.values())


@pytest.mark.parametrize("name", measures.EXPONENTS)
def test_the_policies_of_the_examples_satisfy_assumption_2_and_say_rightly_whether_3(name):
    f, a = measures.EXPONENTS[name], np.linspace(0, 1, 20_001)
    densities = [np.exp(theta * f(a)) / np.exp(theta * f(a)).sum() for theta in (1.0, 1.2)]
    assert kantorovich_on_line(a, *densities) <= 0.2 * np.ptp(f(a))
    steepest = [np.abs(np.diff(f(x)) / np.diff(x)).max() for x in (a, np.linspace(0, 1, 2_000_001))]
    assert (steepest[1] < 1.1 * steepest[0]) == (name in measures.LIPSCHITZ_EXPONENTS)
