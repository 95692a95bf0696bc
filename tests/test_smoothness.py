"""Smoothness measures against explicit sums, known signals, published values and their error messages."""

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.pave.smoothness import (
    AveragedActions,
    action_difference,
    amplitude_spectrum,
    high_band_power,
    smoothness,
    spectral_arc_length,
)


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


@pytest.mark.parametrize("function", [smoothness, amplitude_spectrum, action_difference, high_band_power])
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


ALTERNATING = np.where(np.arange(200) % 2, -1.0, 1.0)


def test_actions_that_alternate_at_every_step_are_perfect_by_the_published_score_and_the_worst_by_every_other():
    assert smoothness(ALTERNATING) == pytest.approx(0, abs=1e-12)
    assert action_difference(ALTERNATING) == pytest.approx(2)  # from end to end of the action range, at every step
    assert action_difference(ALTERNATING, order=2) == pytest.approx(4)
    assert high_band_power(ALTERNATING) == pytest.approx(1)  # all of the variance


@pytest.mark.parametrize("measure", [action_difference, high_band_power, lambda a: action_difference(a, order=2)])
def test_constant_actions_are_perfectly_smooth_by_every_measure(measure):
    assert measure(np.full((50, 2), 0.7)) == pytest.approx(0, abs=1e-25)


def test_actions_that_change_at_an_even_pace_have_first_differences_only():
    ramp = np.outer(np.arange(30), [3.0, 4.0])
    assert action_difference(ramp) == pytest.approx(5)
    assert action_difference(ramp, order=2) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("steps", [64, 65])
def test_the_power_in_all_bands_is_the_variance(steps):
    actions = np.random.default_rng(0).normal(size=(steps, 2))
    assert high_band_power(actions, above=1e-9) == pytest.approx(actions.var(axis=0).sum())


def test_a_sine_counts_above_its_frequency_alone():
    sine = 3 * np.sin(2 * np.pi * 20 * np.arange(100) / 100)
    assert high_band_power(sine, above=0.19) == pytest.approx(4.5)
    assert high_band_power(sine, above=0.21) == pytest.approx(0, abs=1e-20)


def test_the_spectral_arc_length_of_a_bell_is_the_one_its_authors_print():
    time = np.arange(-1, 1, 0.01)
    assert spectral_arc_length(np.exp(-5 * time**2), 100.0) == pytest.approx(-1.41403, abs=5e-6)


def test_the_spectral_arc_length_does_not_see_the_size_of_a_movement_and_sees_its_parts():
    time = np.arange(-1, 1, 0.01)
    once, twice = np.exp(-20 * time**2), np.exp(-20 * (time - 0.4) ** 2) + np.exp(-20 * (time + 0.4) ** 2)
    assert spectral_arc_length(7 * once, 100.0) == pytest.approx(spectral_arc_length(once, 100.0))
    assert spectral_arc_length(twice, 100.0) < spectral_arc_length(once, 100.0) - 0.1


def test_averaged_actions_follow_the_recursion_from_the_first_action_on():
    wanted = torch.tensor([[1.0, -1.0], [0.0, 0.0], [4.0, 4.0]])  # three steps of two episodes
    policy = AveragedActions(lambda states: states, 0.25)
    assert torch.stack([policy(states) for states in wanted]).tolist() == [[1.0, -1.0], [0.75, -0.75], [1.5625, 0.4375]]
    whole = AveragedActions(lambda states: states, 1.0)
    assert all(torch.equal(whole(states), states) for states in wanted)


def test_averaging_makes_alternating_actions_small():
    policy = AveragedActions(lambda states: states, 0.1)
    averaged = torch.stack([policy(action) for action in torch.as_tensor(ALTERNATING)])[100:]
    assert action_difference(averaged) < 0.06 * action_difference(ALTERNATING)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: action_difference(np.zeros(9), order=3), "order must be 1 or 2, got 3"),
        (lambda: high_band_power(np.zeros(9), above=0.5), "between 0 and 0.5 cycles per step, got 0.5"),
        (lambda: spectral_arc_length(np.zeros(9), 20.0), "nonzero somewhere"),
        (lambda: spectral_arc_length(np.ones((9, 2)), 20.0), r"shape \(T,\)"),
        (lambda: AveragedActions(lambda s: s, 0.0), r"weight must lie in \(0, 1\], got 0"),
    ],
)
def test_measures_say_what_they_do_not_take(call, message):
    with pytest.raises(ValueError, match=message):
        call()
