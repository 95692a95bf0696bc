"""The Kantorovich distance refuses what is no distribution, and only those who ask for transport load its library."""

import subprocess
import sys

import numpy as np
import pytest

from paperlib.lipschitz.kantorovich import kantorovich, kantorovich_by_cost, kantorovich_on_line

POINTS, P, Q = [0.0, 1.0, 3.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]
ROWS = np.array(POINTS)[:, None]


def test_on_a_line_the_three_are_one():
    cost = np.abs(ROWS - ROWS.T)
    assert kantorovich_on_line(POINTS, P, Q) == pytest.approx(1.5)
    assert kantorovich(ROWS, P, ROWS, Q) == pytest.approx(1.5)
    assert kantorovich_by_cost(cost, P, Q) == pytest.approx(1.5)


@pytest.mark.parametrize("mass", [[0.5, np.nan, 0.5], [0.5, 0.6, 0.0], [1.5, -0.5, 0.0], [np.inf, 0.0, 0.0]])
def test_masses_that_are_no_probabilities_are_refused(mass):
    for distance in (lambda: kantorovich_on_line(POINTS, mass, Q), lambda: kantorovich(ROWS, P, ROWS, mass)):
        with pytest.raises(ValueError, match="masses must be"):
            distance()


@pytest.mark.parametrize("points", [[0.0, np.nan, 3.0], [0.0, 0.0, 1.0], [1.0, 0.0, 2.0]])
def test_points_out_of_order_or_no_numbers_are_refused(points):
    with pytest.raises(ValueError, match="strictly ascending"):
        kantorovich_on_line(points, P, Q)


def test_distances_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="distances must be finite"):
        kantorovich([[0.0], [np.nan], [3.0]], P, ROWS, Q)


def test_importing_the_library_loads_neither_torch_nor_transport():
    code = "import sys, paperlib.lipschitz; print(sorted({'torch', 'ot', 'pandas', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
