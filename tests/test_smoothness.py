"""The smoothness measure against an explicit Fourier sum, known signals and its error messages."""

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.pave.smoothness import amplitude_spectrum, smoothness


def explicit_smoothness(signal):
    """The definition written out as sums for one action dimension; T // 2 bins, so the highest one is left out."""
    steps = len(signal)
    total = 0.0
    for k in range(steps // 2):
        coefficient = sum(x * cmath.exp(-2j * math.pi * k * t / steps) for t, x in enumerate(signal))
        total += 2 / steps * abs(coefficient) * k / steps
    return total


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(4, 40), action_dim=st.integers(1, 3), seed=st.integers(0, 1000))
def test_smoothness_equals_the_explicit_fourier_sum_averaged_over_dimensions(steps, action_dim, seed):
    actions = np.random.default_rng(seed).normal(size=(steps, action_dim))
    expected = np.mean([explicit_smoothness(actions[:, i]) for i in range(action_dim)])
    assert smoothness(actions) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("steps", [4, 5, 200, 201])
def test_constant_actions_score_zero(steps):
    assert smoothness(np.full((steps, 2), 0.7)) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("steps", [200, 201])
@pytest.mark.parametrize("k", [1, 7, 99])
def test_one_sine_scores_its_amplitude_times_its_frequency(steps, k):
    actions = 0.3 * np.sin(2 * np.pi * k * np.arange(steps) / steps + 0.4)
    assert smoothness(actions) == pytest.approx(0.3 * k / steps)
    frequencies, amplitudes = amplitude_spectrum(actions)
    assert np.argmax(amplitudes) == k and frequencies[k] == k / steps
    assert amplitudes[k] == pytest.approx(0.3)


def test_the_highest_bin_of_an_odd_length_is_left_out():
    steps, k = 201, 100
    assert smoothness(np.sin(2 * np.pi * k * np.arange(steps) / steps)) == pytest.approx(0, abs=1e-12)


def test_alternating_actions_fall_into_the_dropped_bin_at_even_length_only():
    alternating = np.where(np.arange(201) % 2, -1.0, 1.0)
    assert smoothness(alternating[:200]) == pytest.approx(0, abs=1e-12)
    assert smoothness(alternating) == pytest.approx(explicit_smoothness(alternating))
    assert smoothness(alternating) > 0.1


def test_smoothness_scales_with_the_actions_and_ignores_their_sign_and_mean():
    actions = np.random.default_rng(0).normal(size=(50, 2))
    assert smoothness(-2 * actions + 3) == pytest.approx(2 * smoothness(actions))


def test_dimensions_are_averaged_and_a_flat_vector_is_one_dimension():
    actions = np.random.default_rng(1).normal(size=50)
    assert smoothness(actions) == smoothness(actions[:, None])
    assert smoothness(np.stack([actions, np.ones(50)], axis=1)) == pytest.approx(smoothness(actions) / 2)


def test_the_spectrum_has_half_as_many_bins_as_steps_in_the_shape_of_the_actions():
    for steps in (8, 9):
        frequencies, amplitudes = amplitude_spectrum(np.ones((steps, 3)))
        assert frequencies.tolist() == [k / steps for k in range(4)]
        assert amplitudes.shape == (4, 3)
        assert amplitude_spectrum(np.ones(steps))[1].shape == (4,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_torch_and_numpy_actions_agree(dtype):
    actions = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=dtype, requires_grad=True)
    score = smoothness(actions)
    assert isinstance(score, float)
    assert score == smoothness(actions.detach().numpy())


def test_integer_actions_are_accepted():
    assert smoothness([1, 2, 1, 0, 1, 2]) == pytest.approx(explicit_smoothness([1, 2, 1, 0, 1, 2]))


@pytest.mark.parametrize("function", [smoothness, amplitude_spectrum])
@pytest.mark.parametrize(
    ("actions", "error", "message"),
    [
        (np.zeros(3), ValueError, r"at least 4 steps, got shape \(3,\)"),
        (np.zeros((0, 2)), ValueError, r"at least 4 steps, got shape \(0, 2\)"),
        (np.zeros((2, 9, 3)), ValueError, r"shape \(T,\) or \(T, d_a\) with d_a >= 1, got \(2, 9, 3\)"),
        (np.zeros((9, 0)), ValueError, r"got \(9, 0\)"),
        (np.float64(1.0), ValueError, r"got \(\)"),
        (np.array([0, 0, 0, np.nan, 0, np.inf]), ValueError, "not finite; first bad step is 3"),
        (np.array([[0, 0]] * 4 + [[0, np.inf]]), ValueError, "not finite; first bad step is 4"),
        (np.zeros(5, dtype=complex), TypeError, "actions must be real numbers, got dtype complex128"),
        (["a", "b", "c", "d"], TypeError, "actions must be real numbers"),
    ],
    ids=["short", "empty", "three_axes", "no_dimensions", "scalar", "nan", "inf", "complex", "text"],
)
def test_malformed_actions_are_refused(function, actions, error, message):
    with pytest.raises(error, match=message):
        function(actions)
