"""One update of the training engine, taken apart: the agent at a minibatch, its gradients, its networks, its work.

The notebook sets them against the formulas they should follow, in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from paperlib.notebooks.shared.work import matrix_flops
from paperlib.pave.engine.actor_critic import ActorCritic, UpdateNoise
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.settings import Coefficients, published_coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.training import AGENTS

TERMS = ("td", "mpr", "vfc", "curv")


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """One agent (a single run) with the minibatch, noise and target of one update, and the weights of its losses."""

    agent: ActorCritic
    coefficients: Coefficients
    batch: Minibatch
    noise: UpdateNoise
    target: torch.Tensor

    @property
    def critics(self) -> tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ...]:
        """Both critics as Q(states (B, d_s), actions (B, d_a)) -> (B,), differentiable by the agent's parameters."""
        return _critic(self.agent, 0), _critic(self.agent, 1)


def make_update(
    algorithm: str,
    coefficients: Coefficients,
    *,
    observation_dim: int = 3,
    action_dim: int = 1,
    batch_size: int | None = None,
) -> Update:
    """A randomly initialised agent at random transitions; Pendulum's dimensions and published sizes by default."""
    settings = published_settings(algorithm, "pendulum")
    settings = dataclasses.replace(settings, batch_size=batch_size or settings.batch_size)
    streams = RandomStreams([0], device=torch.device("cpu"), dtype=torch.float64)
    agent = AGENTS[algorithm](settings, [coefficients], observation_dim, action_dim, streams)
    size = settings.batch_size
    states = streams.normal("audit states", size, observation_dim)
    batch = Minibatch(
        states=states,
        actions=2 * streams.uniform("audit actions", size, action_dim) - 1,
        rewards=streams.normal("audit rewards", size),
        next_states=states + 0.1 * streams.normal("audit next states", size, observation_dim),
        continues=(streams.uniform("audit ends", size) > 0.1).double(),
    )
    noise = agent.draw_noise(batch)
    return Update(agent, coefficients, batch, noise, agent.target_values(batch, noise))


def engine_terms(update: Update) -> torch.Tensor:
    """The four weighted terms of the critics' loss as the engine computes them, (4,), see `TERMS`."""
    return update.agent.critic_loss(update.batch, update.target, update.noise, update.agent.td_scale)[0]


def engine_critic_gradient(update: Update) -> torch.Tensor:
    """Gradient of the engine's critic loss by all critic parameters, flat."""
    return flat_gradient(engine_terms(update).sum(), update.agent.critic)


def engine_actor_gradient(update: Update) -> torch.Tensor:
    """Gradient of the engine's actor loss, actor-side terms included, by all actor parameters, flat."""
    loss, term = update.agent.actor_loss(update.batch, update.noise)
    return flat_gradient((loss + term).sum(), update.agent.actor)


def flat_gradient(loss: torch.Tensor, network: nn.Module) -> torch.Tensor:
    """Gradient of a loss by all parameters of a network, flat; it may be taken again."""
    return flat(torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, materialize_grads=True))


def flat(tensors) -> torch.Tensor:
    """All entries in one vector."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def networks(agent: ActorCritic) -> dict[str, nn.Sequential]:
    """Copies of the networks of a one-run TD3 agent, by symbol: phi, theta_1, theta_2 and their targets."""
    stacks = {"phi": (agent.actor, 0), "theta_1": (agent.critic, 0), "theta_2": (agent.critic, 1)}
    stacks |= {"phi_bar": (agent.actor_target, 0)}
    stacks |= {"theta_1_bar": (agent.critic_target, 0), "theta_2_bar": (agent.critic_target, 1)}
    return {symbol: stack.unstack(index) for symbol, (stack, index) in stacks.items()}


def critic_update_flops(algorithm: str, method: str) -> int:
    """Matrix-product FLOPs of one critic update (loss and gradient) at Pendulum's published sizes."""
    with_noise = make_update(algorithm, published_coefficients(method, algorithm, "pendulum"))
    return matrix_flops(lambda: engine_critic_gradient(with_noise))


def losses_in_forward_passes(observation_dim: int, action_dim: int) -> float:
    """Matrix-product work of the three losses with their gradient, in forward passes of the critics on the batch.

    The plain TD gradient's work is taken off, so what is left is what PAVE adds.
    """
    sizes = {"observation_dim": observation_dim, "action_dim": action_dim}
    pave = make_update("td3", published_coefficients("pave", "td3", "pendulum"), **sizes)
    base = make_update("td3", Coefficients(), **sizes)
    added = matrix_flops(lambda: engine_critic_gradient(pave)) - matrix_flops(lambda: engine_critic_gradient(base))
    return added / matrix_flops(lambda: [Q(base.batch.states[0], base.batch.actions[0]) for Q in base.critics])


def hessian_in_forward_passes(observation_dim: int, action_dim: int) -> float:
    """Matrix-product work of the critics' action Hessians built row by row, in forward passes on the same batch."""
    update = make_update("td3", Coefficients(), observation_dim=observation_dim, action_dim=action_dim)
    states, actions = update.batch.states[0], update.batch.actions[0].clone().requires_grad_()

    def build() -> None:
        for Q in update.critics:
            (gradient,) = torch.autograd.grad(Q(states, actions).sum(), actions, create_graph=True)
            for entry in gradient.sum(dim=0):
                torch.autograd.grad(entry, actions, retain_graph=True)

    return matrix_flops(build) / matrix_flops(lambda: [Q(states, actions) for Q in update.critics])


def _critic(agent: ActorCritic, index: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Critic `index` of a one-run agent as Q(states (B, d_s), actions (B, d_a)) -> (B,), differentiable throughout."""

    def q(states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        hidden = torch.cat([states, actions], dim=1)
        layers = list(zip(agent.critic.weights, agent.critic.biases, strict=True))
        for weight, bias in layers[:-1]:
            hidden = torch.nn.functional.silu(hidden @ weight[index] + bias[index])
        weight, bias = layers[-1]
        return (hidden @ weight[index] + bias[index]).squeeze(1)

    return q
