"""Gradient steps replayed from CUDA graphs: one launch in the place of hundreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

EAGER_CALLS = 3
"""Calls made as they are before a graph is captured: they set up optimiser state, cuBLAS and compiled kernels."""


class StaticInputs:
    """Tensors at fixed addresses, which a graph reads, refilled before each replay.

    inputs: named tuples of tensors; a field may be None, and then stays None.
    """

    def __init__(self, *inputs: NamedTuple):
        self.inputs = tuple(type(t)(*(None if x is None else x.clone() for x in t)) for t in inputs)

    def refill(self, *inputs: NamedTuple) -> None:
        """Copy new values in. ValueError if a field is given that the graph was captured without, or the reverse."""
        mine, new = [], []
        for held, given in zip(self.inputs, inputs, strict=True):
            for name, to, source in zip(held._fields, held, given, strict=True):
                if (to is None) != (source is None):
                    raise ValueError(f"{name} is {'given' if to is None else 'missing'}, unlike at capture")
                if to is not None:
                    mine.append(to)
                    new.append(source)
        torch._foreach_copy_(mine, new)


class CapturedUpdates:
    """`learn(batch, noise, with_actor)` as CUDA graphs, one for each value of `with_actor`.

    The graphs update parameters, optimiser state, targets and diagnostics in place, so `learn` must not change anything
    on the host. Its tensors must live on a CUDA device and the optimisers be capturable.
    """

    def __init__(self, learn: Callable):
        self._learn = learn
        self._calls = {False: 0, True: 0}
        self._graphs: dict[bool, tuple[torch.cuda.CUDAGraph, StaticInputs]] = {}
        self._stream: torch.cuda.Stream | None = None

    def __call__(self, batch: NamedTuple, noise: NamedTuple, with_actor: bool) -> None:
        if with_actor not in self._graphs:
            self._calls[with_actor] += 1
            if self._calls[with_actor] <= EAGER_CALLS:
                self._run_on_side_stream(batch, noise, with_actor)
                return
            self._graphs[with_actor] = self._capture(batch, noise, with_actor)
        graph, inputs = self._graphs[with_actor]
        inputs.refill(batch, noise)
        graph.replay()

    def _run_on_side_stream(self, batch: NamedTuple, noise: NamedTuple, with_actor: bool) -> None:
        self._stream = self._stream or torch.cuda.Stream()
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._learn(batch, noise, with_actor)
        torch.cuda.current_stream().wait_stream(self._stream)

    def _capture(self, batch: NamedTuple, noise: NamedTuple, with_actor: bool):
        inputs, graph = StaticInputs(batch, noise), torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._learn(*inputs.inputs, with_actor)
        return graph, inputs
