"""How many runs fit into a device's memory."""

from __future__ import annotations

import itertools
import sys

import torch

from paperlib.pave.engine.settings import AlgorithmSettings

_BYTES = 4  # float32
_COPIES_OF_PARAMETERS = 5  # value, gradient, two moments of Adam, target
_TENSORS_PER_LAYER = 32  # of a minibatch, kept for the backward pass of PAVE's loss; generous
_SHARE_OF_FREE_MEMORY = 0.8


def bytes_per_run(settings: AlgorithmSettings, steps: int, observation_dim: int, action_dim: int) -> int:
    """An estimate from above of what one run holds on its device: replay, networks, activations."""
    replay = min(settings.buffer_size, steps) * (2 * observation_dim + action_dim + 3)
    actor = (observation_dim, *settings.hidden, 2 * action_dim)
    critic = (observation_dim + action_dim, *settings.hidden, 1)
    parameters = sum((i + 1) * o for sizes in (actor, critic, critic) for i, o in itertools.pairwise(sizes))
    activations = 2 * settings.batch_size * sum(settings.hidden) * _TENSORS_PER_LAYER
    return _BYTES * (replay + _COPIES_OF_PARAMETERS * parameters + activations)


def runs_that_fit(device: str, bytes_each: int) -> int:
    """Runs of `bytes_each` that the free memory of a CUDA device holds, at least 1; without limit on a CPU."""
    if torch.device(device).type != "cuda":
        return sys.maxsize
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, int(_SHARE_OF_FREE_MEMORY * free) // bytes_each)
