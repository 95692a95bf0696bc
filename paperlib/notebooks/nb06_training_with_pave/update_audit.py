"""One update of the training engine, taken apart and set against the formulas it should follow.

Everything here is computed a second way, by nested autograd from the losses' definitions, in float64.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from paperlib.pave.engine.actor_critic import ActorCritic, UpdateNoise
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.settings import Coefficients, published_coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.training import AGENTS
from paperlib.pave.losses import pave_losses

TERMS = ("td", "mpr", "vfc", "curv")


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
    """One agent (a single run) with the minibatch, noise and target of one update."""

    agent: ActorCritic
    batch: Minibatch
    noise: UpdateNoise
    target: torch.Tensor

    @property
    def td_scale(self) -> float:
        """Half of the summed squared errors for SAC, all of it for TD3, as in Stable-Baselines3."""
        return 0.5 if self.agent.settings.algorithm == "sac" else 1.0


def make_update(
    algorithm: str,
    coefficients: Coefficients,
    *,
    observation_dim: int = 3,
    action_dim: int = 1,
    hidden: tuple[int, ...] | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Update:
    """A randomly initialised agent at random transitions; Pendulum's dimensions and published sizes by default."""
    settings = published_settings(algorithm, "pendulum")
    settings = dataclasses.replace(
        settings, hidden=hidden or settings.hidden, batch_size=batch_size or settings.batch_size
    )
    streams = RandomStreams([seed], device=torch.device("cpu"), dtype=torch.float64)
    agent = AGENTS[algorithm](settings, [coefficients], observation_dim, action_dim, streams)
    size = settings.batch_size
    states = streams.normal("audit states", size, observation_dim)
    batch = Minibatch(
        states=states,
        actions=2 * streams.uniform("audit actions", size, action_dim) - 1,
        rewards=streams.normal("audit rewards", size),
        next_states=states + 0.1 * streams.normal("audit next states", size, observation_dim),
        continues=torch.ones(1, size, dtype=torch.float64),
    )
    noise = agent.draw_noise(batch)
    return Update(agent, batch, noise, agent.target_values(batch, noise))


def engine_terms(update: Update) -> dict[str, torch.Tensor]:
    """The four weighted terms as the engine computes them."""
    with torch.no_grad():
        terms = update.agent.critic_loss(update.batch, update.target, update.noise, update.td_scale)
    return dict(zip(TERMS, terms[0], strict=True))


def engine_critic_gradient(update: Update) -> torch.Tensor:
    """Gradient of the engine's critic loss by all critic parameters, flat."""
    terms = update.agent.critic_loss(update.batch, update.target, update.noise, update.td_scale)
    return _flat(torch.autograd.grad(terms.sum(), list(update.agent.critic.parameters())))


def written_out_terms(update: Update) -> dict[str, torch.Tensor]:
    """The four weighted terms from their definitions, summed over both critics: TD errors and `pave_losses`."""
    agent, batch, noise = update.agent, update.batch, update.noise
    coefficients = {name: value.item() for name, value in agent.coefficients.items()}
    terms = dict.fromkeys(TERMS, torch.zeros((), dtype=torch.float64))
    for index in range(2):
        critic = _critic(agent, index)
        errors = critic(batch.states[0], batch.actions[0]) - update.target[0]
        terms["td"] = terms["td"] + update.td_scale * errors.square().mean()
        losses = pave_losses(
            critic,
            batch.states[0],
            batch.actions[0],
            batch.next_states[0],
            state_noise=coefficients["sigma"] * noise.states[0],
            probes=noise.probes[0],
            delta=coefficients["delta"],
        )
        for name, loss in losses._asdict().items():
            terms[name] = terms[name] + coefficients[name] * loss
    return terms


def written_out_critic_gradients(update: Update) -> dict[str, torch.Tensor]:
    """The critic-parameter gradient of each weighted term on its own, flat; they add up to the objective's gradient."""
    parameters = list(update.agent.critic.parameters())
    gradients = {}
    for name, term in written_out_terms(update).items():
        by_parameter = torch.autograd.grad(term, parameters, retain_graph=True, materialize_grads=True)
        gradients[name] = _flat(by_parameter)
    return gradients


def engine_actor_gradient(update: Update) -> torch.Tensor:
    """Gradient of the engine's actor loss, actor-side terms included, by all actor parameters, flat."""
    loss, term = update.agent.actor_loss(update.batch, update.noise)
    return _flat(torch.autograd.grad((loss + term).sum(), list(update.agent.actor.parameters())))


def written_out_actor_gradient(update: Update) -> torch.Tensor:
    """Gradient of the textbook actor objective: -E Q_1(s, pi(s)) in TD3, E[alpha log pi - min_i Q_i] in SAC."""
    agent, states = update.agent, update.batch.states[0]
    outputs = agent.actor(update.batch.states)[0]
    if agent.settings.algorithm == "td3":
        objective = -_critic(agent, 0)(states, torch.tanh(outputs)).mean()
    else:
        mean, log_std = outputs.chunk(2, dim=1)
        density = torch.distributions.Normal(mean, log_std.clamp(-20, 2).exp())
        before_squashing = mean + density.stddev * update.noise.actions[0]
        actions = torch.tanh(before_squashing)
        log_density = (density.log_prob(before_squashing) - torch.log(1 - actions.square() + 1e-6)).sum(dim=1)
        values = torch.minimum(*(_critic(agent, index)(states, actions) for index in range(2)))
        objective = (agent.settings.entropy_coefficient * log_density - values).mean()
    return _flat(torch.autograd.grad(objective, list(agent.actor.parameters())))


def actor_after_update(update: Update, coefficients: Coefficients) -> torch.Tensor:
    """Actor parameters, flat, after one Adam step under other coefficients, the critic held where it is."""
    agent = copy.deepcopy(update.agent)
    for field in dataclasses.fields(coefficients):
        agent.coefficients[field.name].fill_(getattr(coefficients, field.name))
    agent.step_actor(update.batch, update.noise)
    return _flat(list(agent.actor.parameters())).detach()


def matrix_flops(function: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products in a call, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


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
    inputs = torch.cat([base.batch.states, base.batch.actions], dim=2).repeat_interleave(2, dim=0)
    return added / matrix_flops(lambda: base.agent.critic(inputs))


def relative_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """|one - other| / |other|, Euclidean."""
    return ((one - other).norm() / other.norm()).item()


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


def _flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
