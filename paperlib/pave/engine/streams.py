"""Random streams: one per run and purpose, so that no run's numbers depend on which runs train beside it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, index: int = 0) -> int:
    """The seed of one stream, in [0, 2^31), from a run's seed, the stream's purpose and a running index."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return int(sequence.generate_state(1, np.uint32)[0] >> 1)


class RandomStreams:
    """Draws of shape (R, *shape), row r from run r's own generator for the purpose at hand.

    Numbers are drawn in blocks: the loop over runs is paid once per block, not once per step. `discard` drops what
    is left of the blocks; called at every checkpoint, it leaves nothing but the generators' states to save.

    Args:
        seeds: one seed per run.
        device, dtype: where the draws live.
        block: draws made at a time for each purpose.
    """

    def __init__(self, seeds: Sequence[int], *, device: torch.device, dtype: torch.dtype, block: int = 64):
        self.seeds = tuple(seeds)
        self.device, self.dtype, self.block = device, dtype, block
        self._generators: dict[str, list[torch.Generator]] = {}
        self._blocks: dict[str, torch.Tensor] = {}
        self._used: dict[str, int] = {}

    def generators(self, purpose: str) -> list[torch.Generator]:
        """The runs' generators for a purpose, made at first use."""
        if purpose not in self._generators:
            self._generators[purpose] = [
                torch.Generator(self.device).manual_seed(derive_seed(seed, purpose)) for seed in self.seeds
            ]
        return self._generators[purpose]

    def normal(self, purpose: str, *shape: int) -> torch.Tensor:
        """Standard normal draws, (R, *shape)."""
        return self._draw(purpose, shape, lambda row, generator: row.normal_(generator=generator), self.dtype)

    def uniform(self, purpose: str, *shape: int) -> torch.Tensor:
        """Uniform draws in [0, 1), (R, *shape), always in float64: an index into a large buffer needs the digits."""
        return self._draw(purpose, shape, lambda row, generator: row.uniform_(generator=generator), torch.float64)

    def signs(self, purpose: str, *shape: int) -> torch.Tensor:
        """Rademacher draws, +1 or -1 with equal probability, (R, *shape)."""

        def fill(row: torch.Tensor, generator: torch.Generator) -> None:
            row.random_(0, 2, generator=generator).mul_(2).sub_(1)

        return self._draw(purpose, shape, fill, self.dtype)

    def sphere(self, purpose: str, *shape: int) -> torch.Tensor:
        """Draws uniform on the sphere of squared radius d, the last size of the shape: (R, *shape)."""
        normal = self.normal(purpose, *shape)
        return normal * (shape[-1] ** 0.5 / normal.norm(dim=-1, keepdim=True))

    def _draw(self, purpose, shape, fill, dtype) -> torch.Tensor:
        used = self._used.get(purpose, self.block)
        if used == self.block:
            if purpose not in self._blocks:
                size = (len(self.seeds), self.block, *shape)
                self._blocks[purpose] = torch.empty(size, device=self.device, dtype=dtype)
            for row, generator in zip(self._blocks[purpose], self.generators(purpose), strict=True):
                fill(row, generator)
            used = 0
        block = self._blocks[purpose]
        if block.shape[2:] != shape or block.dtype != dtype:
            held = f"{tuple(block.shape[2:])} in {block.dtype}"
            raise ValueError(f"stream {purpose!r} draws {held}, asked for {shape} in {dtype}")
        self._used[purpose] = used + 1
        return block[:, used]

    def discard(self) -> None:
        """Forget the draws made ahead, in every purpose."""
        self._used.clear()

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """The generators' states. Valid right after `discard` only; otherwise draws made ahead would be lost."""
        if self._used:
            raise RuntimeError("streams hold draws made ahead: call discard() before saving their state")
        return {purpose: [g.get_state() for g in generators] for purpose, generators in self._generators.items()}

    def load_state_dict(self, state: dict[str, list[torch.Tensor]]) -> None:
        """Put the generators where `state_dict` found them."""
        self.discard()
        for purpose, states in state.items():
            for generator, one in zip(self.generators(purpose), states, strict=True):
                generator.set_state(one.cpu())
