"""How smooth one episode's actions are, as PAVE scores it and as others do, and actions averaged over time.

PAVE's score is blind to actions that alternate at every step of an episode of even length: the one bin that they fill
is left out. `action_difference` and `high_band_power` see them.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

SHORTEST_EPISODE = 4  # with fewer steps the only bin kept is frequency 0, whose weight is 0


def amplitude_spectrum(actions: ArrayLike | Tensor) -> tuple[np.ndarray, np.ndarray]:
    """One-sided amplitude spectrum of one episode of T actions, without the highest bin.

    actions: `(T,)` or `(T, d_a)`, T >= 4, NumPy or torch, any real units. Returns `frequencies` `(T // 2,)`, k / T in
    cycles per step, and `amplitudes` `(T // 2,)` or `(T // 2, d_a)`, (2 / T) |FFT_k| in the actions' units, both
    float64, for k = 0 .. T // 2 - 1.

    The one-sided transform has T // 2 + 1 bins; the last is left out: k = T / 2 (alternation at every step) for even T,
    k = (T - 1) / 2 for odd T. A sine of amplitude A at a kept bin k > 0 gives A there; bin 0 gives twice the mean's
    magnitude. Raises TypeError for values that are not real numbers, ValueError for shapes, T < 4 and values that are
    not finite.
    """
    signal = _checked(actions)
    steps = signal.shape[0]
    bins = np.arange(steps // 2)
    return bins / steps, 2 / steps * np.abs(np.fft.rfft(signal, axis=0)[bins])


def smoothness(actions: ArrayLike | Tensor) -> float:
    """Smoothness of one episode: sum over bins of amplitude times frequency, averaged over action dimensions.

    Lower is smoother; 0 for constant actions. actions: `(T,)` or `(T, d_a)` in environment units; result in the same
    units times cycles per step. Bins and errors as in `amplitude_spectrum`. As the highest bin is left out, actions
    that alternate at every step of an episode of even length also score 0. Source: the measure behind the "smoothness"
    columns of PAVE's Tables 1 and 2, after Mysore et al. 2021 (CAPS).
    """
    frequencies, amplitudes = amplitude_spectrum(actions)
    return float(np.mean(frequencies @ amplitudes))


def action_difference(actions: ArrayLike | Tensor, order: int = 1) -> float:
    """Mean Euclidean size of the differences of one episode's actions from step to step.

    order 1: of a_{t+1} - a_t, the action fluctuation of Song et al. 2023 (LipsNet). order 2: of a_{t+2} - 2 a_{t+1} +
    a_t, what Lee et al. 2024 (Grad-CAPS) penalise; 0 for actions that change at an even pace. Lower is smoother.
    actions: `(T,)` or `(T, d_a)`; result in their units per step, or per step squared. Errors as in
    `amplitude_spectrum`, ValueError for another order.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    signal = _checked(actions)
    differences = np.diff(signal.reshape(len(signal), -1), n=order, axis=0)
    return float(np.linalg.norm(differences, axis=1).mean())


def high_band_power(actions: ArrayLike | Tensor, above: float = 0.25) -> float:
    """Mean square of the part of one episode's actions that is faster than `above` cycles per step.

    actions: `(T,)` or `(T, d_a)`; result in their squared units, summed over action dimensions. By Parseval's theorem
    the power in all bins but the constant one is the variance. Half a cycle per step, where actions alternate, is
    counted. Errors as in `amplitude_spectrum`, ValueError for a bound outside (0, 0.5).
    Source: the periodogram, Oppenheim and Schafer 2010, section 10.5.
    """
    if not 0 < above < 0.5:
        raise ValueError(f"above must lie between 0 and 0.5 cycles per step, got {above}")
    signal = _checked(actions)
    steps = len(signal)
    coefficients = np.fft.rfft(signal.reshape(steps, -1), axis=0)
    power = 2 * np.abs(coefficients / steps) ** 2
    if steps % 2 == 0:
        power[-1] /= 2  # half a cycle per step is its own mirror image
    return float(power[np.fft.rfftfreq(steps) > above].sum())


def spectral_arc_length(
    speed: ArrayLike | Tensor, rate: float, *, highest: float = 10.0, threshold: float = 0.05, padding: int = 4
) -> float:
    """SPARC, the spectral arc length of a movement's speed: minus the length of its normalised amplitude spectrum.

    Closer to 0 is smoother. It is made for movements, not for actions, and does not depend on their size or length.
    speed: `(T,)`, the speed at each sample; rate: samples per second. The spectrum, of the speed padded with zeros to
    2^padding times the next power of two, is cut where it last reaches `threshold` of its largest value, at `highest`
    Hz at most. Errors as in `amplitude_spectrum`; ValueError also for a speed that is zero throughout.
    Source: Balasubramanian et al. 2012 (spectral arc length) and 2015 (the cut by the threshold).
    """
    signal = _checked(speed)
    if signal.ndim != 1 or not signal.any():
        raise ValueError(f"speed must have shape (T,) and be nonzero somewhere, got shape {signal.shape}")
    points = 2 ** (int(np.ceil(np.log2(len(signal)))) + padding)
    frequencies = np.fft.rfftfreq(points, 1 / rate)
    amplitudes = np.abs(np.fft.rfft(signal, points))
    amplitudes = (amplitudes / amplitudes.max())[frequencies <= highest]
    loud = np.flatnonzero(amplitudes >= threshold)
    band = slice(loud[0], loud[-1] + 1)
    heights, places = amplitudes[band], np.linspace(0, 1, loud[-1] - loud[0] + 1)
    return float(-np.hypot(np.diff(places), np.diff(heights)).sum())


class AveragedActions:
    """A policy whose actions are averaged exponentially over time: a_t = w pi(s_t) + (1 - w) a_{t-1}, a_0 = pi(s_0).

    What a user tries first against rough actions. act: policy of one or many episodes that step together; weight: w in
    (0, 1], 1 being the policy itself. Make a new one where episodes begin.
    Source: exponential smoothing, Brown 1959; on a robot's commands a first-order low-pass filter.
    """

    def __init__(self, act: Callable[[Tensor], Tensor], weight: float):
        if not 0 < weight <= 1:
            raise ValueError(f"weight must lie in (0, 1], got {weight}")
        self._act, self._weight = act, weight
        self._before: Tensor | None = None

    def __call__(self, states: Tensor) -> Tensor:
        """The averaged actions at the states of the next step."""
        actions = self._act(states)
        before = actions if self._before is None else self._before
        self._before = torch.lerp(before, actions, self._weight)
        return self._before


def _checked(actions: ArrayLike | Tensor) -> np.ndarray:
    array = actions.detach().cpu().numpy() if isinstance(actions, Tensor) else np.asarray(actions)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"actions must be real numbers, got dtype {array.dtype}")
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] == 0):
        raise ValueError(f"actions must have shape (T,) or (T, d_a) with d_a >= 1, got {array.shape}")
    if array.shape[0] < SHORTEST_EPISODE:
        raise ValueError(f"actions must cover at least {SHORTEST_EPISODE} steps, got shape {array.shape}")
    finite = np.isfinite(array.reshape(array.shape[0], -1)).all(axis=1)
    if not finite.all():
        raise ValueError(f"actions are not finite; first bad step is {int(np.argmin(finite))}")
    return array.astype(np.float64)
