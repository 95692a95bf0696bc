"""Trained networks as ordinary torch modules, in files that load anywhere torch does."""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from torch import nn

FORMAT = 1


@dataclass(frozen=True)
class TrainedNetworks:
    """One run's actor and twin critics; of a recorded run perhaps the first critic alone, and no actor.

    The actor's first d_a outputs, through tanh, are the deterministic action in [-1, 1]; a critic reads (s, a) with a
    in [-1, 1]. `description` holds what the run was: environment, algorithm, method, seed, steps.
    """

    actor: nn.Sequential | None
    critics: tuple[nn.Sequential, ...]
    action_dim: int
    description: dict

    @torch.no_grad()
    def act(self, states: torch.Tensor) -> torch.Tensor:
        """Deterministic actions in [-1, 1], without gradients: (..., d_s) to (..., d_a)."""
        return torch.tanh(self.actor(states)[..., : self.action_dim])


def networks_to_bytes(networks: TrainedNetworks) -> bytes:
    """A file's content: layer widths, weights in torch.nn.Linear's layout, description. No code is pickled."""
    modules = {} if networks.actor is None else {"actor": networks.actor}
    modules |= {f"critic_{number}": critic for number, critic in enumerate(networks.critics, start=1)}
    content = {
        "format": FORMAT,
        "action_dim": networks.action_dim,
        "description": networks.description,
        "widths": {name: _widths(module) for name, module in modules.items()},
        "weights": {name: {k: v.cpu() for k, v in module.state_dict().items()} for name, module in modules.items()},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def networks_from_bytes(content: bytes) -> TrainedNetworks:
    """The networks in a file's content, on the CPU; ValueError for a damaged file or one of another format.

    Weights kept in float16 come back as float32.
    """
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damaged bytes lead to
        raise ValueError(f"this is no file of trained networks ({type(error).__name__}: {error})") from error
    if not isinstance(saved, dict) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"unknown format {found!r}; this version reads format {FORMAT}")
    try:
        return _networks(saved)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"the file of trained networks lacks something ({type(error).__name__}: {error})") from error


def _networks(saved: dict) -> TrainedNetworks:
    modules = {name: _mlp(saved["widths"][name], saved["weights"][name]) for name in saved["widths"]}
    critics = tuple(modules[name] for name in ("critic_1", "critic_2") if name in modules)
    return TrainedNetworks(modules.get("actor"), critics, saved["action_dim"], saved["description"])


def _widths(module: nn.Sequential) -> list[int]:
    linears = [layer for layer in module if isinstance(layer, nn.Linear)]
    return [linears[0].in_features] + [layer.out_features for layer in linears]


def _mlp(widths: list[int], weights: dict[str, torch.Tensor]) -> nn.Sequential:
    dtype = next(iter(weights.values())).dtype
    dtype = torch.float32 if dtype == torch.float16 else dtype
    layers: list[nn.Module] = []
    for inputs, outputs in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(inputs, outputs, dtype=dtype), nn.SiLU()]
    module = nn.Sequential(*layers[:-1])
    module.load_state_dict(weights)
    return module
