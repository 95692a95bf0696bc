"""How smooth one episode's actions are: the spectrum of the action sequence, and its frequency-weighted sum."""

import numpy as np
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
