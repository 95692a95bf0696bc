"""Stacked multilayer perceptrons: N networks of one shape, evaluated and differentiated as one program."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from functools import cache

import torch
from torch import nn
from torch.nn.functional import normalize, silu

LEAST_SPEEDUP = 1.3  # of bfloat16 products over float32 ones, for "mixed" to be worth its rounding
PRODUCTS_TIMED = 10


class StackedMLP(nn.Module):
    """N independent multilayer perceptrons with SiLU between the layers and a linear output.

    The runs' networks lie one behind the other: network n belongs to run n // networks_per_run. A sum over networks
    of any per-network loss leaves them independent, and Adam acts element by element, so training the stack equals
    training each network alone.

    Args:
        sizes: layer widths from input to output.
        generators: one generator per run, the source of the initial weights (torch.nn.Linear's own distribution).
        networks_per_run: 1 for an actor, 2 for twin critics.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        generators: Sequence[torch.Generator],
        *,
        networks_per_run: int = 1,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        super().__init__()
        self.sizes = tuple(sizes)
        self.networks_per_run = networks_per_run
        n = len(generators) * networks_per_run
        pairs = list(itertools.pairwise(self.sizes))
        self.weights = nn.ParameterList(torch.empty(n, i, o, device=device, dtype=dtype) for i, o in pairs)
        self.biases = nn.ParameterList(torch.empty(n, 1, o, device=device, dtype=dtype) for _, o in pairs)
        with torch.no_grad():
            for network in range(n):
                self._initialise(network, generators[network // networks_per_run])

    def _initialise(self, network: int, generator: torch.Generator) -> None:
        """torch.nn.Linear's default: weights and biases uniform in +-1 / sqrt(inputs)."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = weight.shape[1] ** -0.5
            weight[network].uniform_(-bound, bound, generator=generator)
            bias[network].uniform_(-bound, bound, generator=generator)

    @torch.no_grad()
    def add_outputs(self, count: int, generators: Sequence[torch.Generator]) -> None:
        """Append `count` outputs, initialised likewise, behind the present ones, which stay as they are."""
        head = StackedMLP(
            (self.sizes[-2], count),
            generators,
            networks_per_run=self.networks_per_run,
            device=self.weights[-1].device,
            dtype=self.weights[-1].dtype,
        )
        self.weights[-1] = nn.Parameter(torch.cat([self.weights[-1], head.weights[0]], dim=2))
        self.biases[-1] = nn.Parameter(torch.cat([self.biases[-1], head.biases[0]], dim=2))
        self.sizes = (*self.sizes[:-1], self.sizes[-1] + count)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs (N, B, d_out) at inputs (N, B, d_in)."""
        return stacked_mlp(list(self.weights), list(self.biases), inputs)

    def track_spectra(self) -> None:
        """Begin to keep the weights' largest singular values at one; the directions followed are saved with them."""
        for layer, weight in enumerate(self.weights):
            self.register_buffer(f"direction_{layer}", weight.new_ones(weight.shape[0], 1, weight.shape[1]))
        for _ in range(20):  # random weights: from here on one iteration per update follows them
            self.normalise_spectra()

    @torch.no_grad()
    def normalise_spectra(self) -> None:
        """Divide every weight by its largest singular value, followed by one power iteration (Miyato et al. 2018)."""
        for layer, weight in enumerate(self.weights):
            direction = getattr(self, f"direction_{layer}")
            right = normalize(torch.bmm(direction, weight), dim=2)
            pulled = torch.bmm(right, weight.mT)
            direction.copy_(normalize(pulled, dim=2))
            weight.div_(pulled.norm(dim=2, keepdim=True))

    def unstack(self, network: int) -> nn.Sequential:
        """Network `network` as an ordinary torch.nn.Sequential of Linear and SiLU layers (a copy)."""
        layers: list[nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[2], device=weight.device, dtype=weight.dtype)
            with torch.no_grad():
                linear.weight.copy_(weight[network].mT)
                linear.bias.copy_(bias[network, 0])
            layers += [linear, nn.SiLU()]
        return nn.Sequential(*layers[:-1])

    @torch.no_grad()
    def load(self, network: int, layers: nn.Sequential) -> None:
        """Overwrite network `network` with the Linear layers of a torch.nn.Sequential of the same widths."""
        linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        widths = tuple([linears[0].in_features] + [layer.out_features for layer in linears])
        if widths != self.sizes:
            raise ValueError(f"layer widths {widths} do not fit this stack's {self.sizes}")
        for weight, bias, layer in zip(self.weights, self.biases, linears, strict=True):
            weight[network].copy_(layer.weight.mT)
            bias[network, 0].copy_(layer.bias)


def stacked_mlp(
    weights: list[torch.Tensor], biases: list[torch.Tensor], inputs: torch.Tensor, precision: str = "float32"
) -> torch.Tensor:
    """The forward pass of a stack given as tensors: (N, B, d_in) to (N, B, d_out).

    With precision "mixed" the forward pass is that of float32, and the backward pass is in bfloat16.
    """
    hidden = inputs
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = silu(hidden) if layer else hidden
        if precision == "mixed":
            hidden = _BackwardInBfloat16.apply(hidden, weight) + bias
        else:
            hidden = torch.baddbmm(bias, hidden, weight)
    return hidden


def row_product(rows: torch.Tensor, weight: torch.Tensor, precision: str, *, in_full: int) -> torch.Tensor:
    """Blocks of rows (N, blocks, B, d_in) times the weights (N, d_in, d_out): (N, blocks, B, d_out).

    "float32" is one product per network in the tensors' own precision. In "mixed" the first `in_full` blocks are
    multiplied like that, but the others, and all products of the backward pass, have bfloat16 operands and results:
    a difference's product then errs by 2^-9 of the *difference*.
    """
    if precision == "float32":
        return torch.bmm(rows.flatten(1, 2), weight).unflatten(1, rows.shape[1:3])
    full, low = rows.tensor_split([in_full], dim=1)
    products = torch.bmm(low.flatten(1, 2).bfloat16(), weight.bfloat16()).to(rows.dtype).unflatten(1, low.shape[1:3])
    if not in_full:
        return products
    in_float32 = _BackwardInBfloat16.apply(full.flatten(1, 2), weight).unflatten(1, full.shape[1:3])
    return torch.cat([in_float32, products], dim=1)


class _BackwardInBfloat16(torch.autograd.Function):
    """A float32 product (N, B, d_in) by (N, d_in, d_out) whose backward pass multiplies in bfloat16."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows.bfloat16(), weight.bfloat16())
        return torch.bmm(rows, weight)

    @staticmethod
    def backward(ctx, cotangent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows, weight = ctx.saved_tensors
        low = cotangent.bfloat16()
        return torch.bmm(low, weight.mT).to(cotangent.dtype), torch.bmm(rows.mT, low).to(cotangent.dtype)


def require_fast_bfloat16(device: torch.device) -> None:
    """ValueError unless the device is a processor whose bfloat16 products, measured, are clearly the faster ones.

    What processors report does not tell: with AVX512-BF16 bfloat16 is up to fifty times slower on some and twice as
    fast on others (AMD Zen 4), with AMX always faster.
    """
    if device.type != "cpu":
        raise ValueError(f"precision 'mixed' is for processors, and the device is {str(device)!r}: train in float32")
    speedup = bfloat16_speedup()
    if speedup < LEAST_SPEEDUP:
        raise ValueError(
            f"precision 'mixed' needs a processor with fast bfloat16 (AMX, or AVX512-BF16 as in Zen 4); here its "
            f"products run at {speedup:.2f} times the rate of float32: train in float32"
        )


@cache
def bfloat16_speedup() -> float:
    """Rate of a bfloat16 product of a critic layer's size over the float32 one's: some milliseconds, once a process."""
    seconds = {torch.float32: [], torch.bfloat16: []}
    for dtype, taken in PRODUCTS_TIMED * list(seconds.items()):
        rows, weight = torch.ones(768, 256, dtype=dtype), torch.ones(256, 256, dtype=dtype)
        start = time.perf_counter()
        torch.mm(rows, weight)
        taken.append(time.perf_counter() - start)
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])
