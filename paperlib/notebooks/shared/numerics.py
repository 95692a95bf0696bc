"""Small measures that several notebooks take."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def log_log_slope(x: Sequence[float] | Tensor, y: Sequence[float] | Tensor) -> float:
    """Least-squares slope of log y against log x; ValueError unless all are positive and there are two at least."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"x and y must be two lists of equal length, at least 2; shapes are {x.shape} and {y.shape}")
    if not ((x > 0).all() and (y > 0).all()):
        raise ValueError("a log-log slope needs positive values")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def relative_difference(value: Tensor, reference: Tensor) -> float:
    """Largest ||value - reference|| / ||reference|| over a batch: 2-norm of vectors (B, d), Frobenius of matrices.

    ValueError for unequal shapes and for a reference of zero.
    """
    if value.shape != reference.shape:
        raise ValueError(f"shapes differ: {tuple(value.shape)} and {tuple(reference.shape)}")
    norms = torch.linalg.vector_norm(reference.flatten(1), dim=1)
    if (norms == 0).any():
        raise ValueError(f"reference is zero at row {int((norms == 0).nonzero()[0])}: no relative difference")
    return (torch.linalg.vector_norm((value - reference).flatten(1), dim=1) / norms).max().item()
