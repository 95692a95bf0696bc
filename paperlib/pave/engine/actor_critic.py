"""What TD3 and SAC share: stacked networks and optimisers, the critic's PAVE term, the actor's baseline terms."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from paperlib.pave.closed_form import closed_form_pave
from paperlib.pave.engine import actor_terms
from paperlib.pave.engine.captured_updates import CapturedUpdates
from paperlib.pave.engine.machine import use_own_compile_cache
from paperlib.pave.engine.networks import StackedMLP, require_fast_bfloat16, stacked_mlp
from paperlib.pave.engine.replay import Minibatch
from paperlib.pave.engine.settings import AlgorithmSettings, Coefficients, coefficient_names
from paperlib.pave.engine.streams import RandomStreams

_CRITIC_TERMS = {"pave", "gp"}
DIAGNOSTICS = ("td_loss", "weighted_mpr", "weighted_vfc", "weighted_curv", "weighted_gp", "actor_loss", "actor_term")
"""The last update's terms of the critic loss (the first five, which add up to it) and of the actor loss, weighted."""


class UpdateNoise(NamedTuple):
    """The random numbers of one update, standard normal unless said otherwise; None where the update needs none."""

    next_actions: torch.Tensor  # (R, B, d_a): TD3's target smoothing, or SAC's action at s'
    actions: torch.Tensor | None = None  # (R, B, d_a): SAC's action at s
    states: torch.Tensor | None = None  # (R, B, d_s): MPR
    probes: torch.Tensor | None = None  # (R, B, d_a), +-1 or of squared length d_a: Curv
    near: torch.Tensor | None = None  # (R, B, d_s): states near s at which an actor-side term reads the policy (CAPS)


class ActorCritic:
    """R runs of one algorithm. Subclasses say how targets, actor loss and actions are formed.

    Runs may differ in seed and coefficients. The terms computed are those that any run uses; a run with coefficient 0
    trains as if the term were not there.

    Args:
        settings: shared by all runs.
        coefficients: one per run.
        streams: one random stream per run; also the source of the initial weights.
        compiled: targets, losses and their gradients as two programs of torch.compile, one for the critics and one for
            the actor, where the machine can; not with GP-Critic's term, which is differentiated twice.
        captured: replay the update from CUDA graphs; needs a CUDA device.
    """

    outputs_per_action: int  # actor outputs per action dimension, without ASAP's predictor
    td_scale: float  # of the summed mean squared TD errors in the critics' loss, as in Stable-Baselines3
    policy_delay = 1  # updates of the critics for one of the actor
    needs_action_noise = False

    def __init__(
        self,
        settings: AlgorithmSettings,
        coefficients: Sequence[Coefficients],
        observation_dim: int,
        action_dim: int,
        streams: RandomStreams,
        *,
        compiled: bool = False,
        captured: bool = False,
    ):
        use_own_compile_cache()
        if settings.precision == "mixed":
            require_fast_bfloat16(streams.device)
        self.settings, self.streams = settings, streams
        self.runs, self.action_dim = len(coefficients), action_dim
        self.terms = frozenset().union(*(c.terms() for c in coefficients))
        on = {"device": streams.device, "dtype": streams.dtype}
        self.coefficients = {
            name: torch.tensor([c.value(name) for c in coefficients], **on) for name in coefficient_names()
        }
        actor_sizes = (observation_dim, *settings.hidden, action_dim * self.outputs_per_action)
        critic_sizes = (observation_dim + action_dim, *settings.hidden, 1)
        self.actor = StackedMLP(actor_sizes, streams.generators("actor weights"), **on)
        if "asap" in self.terms:
            # From its own stream: a run's other weights must not depend on the methods it is stacked with.
            self.actor.add_outputs(action_dim, streams.generators("predictor weights"))
        self.critic = StackedMLP(critic_sizes, streams.generators("critic weights"), networks_per_run=2, **on)
        if settings.spectral_critic:
            self.critic.track_spectra()
        self.critic_target = copy.deepcopy(self.critic).requires_grad_(False)
        if "asap" in self.terms:
            self.predictor_target = copy.deepcopy(self.actor).requires_grad_(False)
        self.actor_optimizer = _adam(self.actor, settings.learning_rate, captured)
        self.critic_optimizer = _adam(self.critic, settings.learning_rate, captured)
        self.updates = 0
        # Kept by the training loop; tells when a run diverged. On the device, as a captured update must read it there.
        self.environment_step = torch.zeros((), device=streams.device, dtype=torch.long)
        self.diverged_at = torch.full((self.runs,), -1, device=streams.device, dtype=torch.long)
        self.diagnostics = torch.zeros(self.runs, len(DIAGNOSTICS), **on)
        gradients = self.critic_gradient, self.actor_gradient
        compiled = compiled and "gp" not in self.terms
        self._critics_at_once = None if compiled or streams.device.type == "cuda" else 2
        self._critic_gradient, self._actor_gradient = map(fused, gradients) if compiled else gradients
        self._learn = CapturedUpdates(self.learn) if captured else self.learn

    # --- what an update needs --------------------------------------------------------------------------------

    def draw_noise(self, batch: Minibatch) -> UpdateNoise:
        """The random numbers of the next update, each from its own stream."""
        d_s, d_a, size = batch.states.shape[2], self.action_dim, batch.states.shape[1]
        pave, near = "pave" in self.terms, any(term.noisy for term in self._own_terms())
        draw_probes = self.streams.sphere if self.settings.probes == "sphere" else self.streams.signs
        return UpdateNoise(
            next_actions=self.streams.normal("next actions", size, d_a),
            actions=self.streams.normal("actions", size, d_a) if self.needs_action_noise else None,
            states=self.streams.normal("mpr", size, d_s) if pave else None,
            probes=draw_probes("probes", size, d_a) if pave else None,
            near=self.streams.normal("caps", size, d_s) if near else None,  # the name decides the numbers: it stays
        )

    def _own_terms(self) -> list[actor_terms.ActorTerm]:
        """Those of `actor_terms.TERMS` in use."""
        return [term for name, term in actor_terms.TERMS.items() if name in self.terms]

    @property
    def needs_previous_states(self) -> bool:
        """Whether a term reads pi(s_{t-1})."""
        return any(term.previous for term in self._own_terms())

    def critic_loss(self, batch: Minibatch, target: torch.Tensor, noise: UpdateNoise, td_scale: float) -> torch.Tensor:
        """The weighted terms (td, mpr, vfc, curv) of every run's critic loss, GP-Critic's aside: (R, 4).

        td_scale * (sum of both critics' mean squared TD errors) + lambda_1 L_MPR + lambda_2 L_VFC + lambda_3 L_Curv,
        each of the last three summed over the two critics (PAVE, total objective).
        """
        if "pave" not in self.terms:
            inputs = for_both(torch.cat([batch.states, batch.actions], dim=2))
            weights, biases = list(self.critic.weights), list(self.critic.biases)
            values = stacked_mlp(weights, biases, inputs, self.settings.precision).squeeze(2)
            td = td_scale * self._sum_critics((values - for_both(target)).square().mean(dim=1))
            return torch.stack([td, *3 * [torch.zeros_like(td)]], dim=1)
        values, losses = closed_form_pave(
            self.critic,
            *map(for_both, (batch.states, batch.actions, batch.next_states)),
            state_noise=for_both(noise.states * self.coefficients["sigma"][:, None, None]),
            probes=for_both(noise.probes),
            delta=for_both(self.coefficients["delta"]),
            precision=self.settings.precision,
            at_once=self._critics_at_once,
        )
        td = td_scale * self._sum_critics((values - for_both(target)).square().mean(dim=1))
        mpr, vfc, curv = map(self._sum_critics, losses)
        c = self.coefficients
        return torch.stack([td, c["mpr"] * mpr, c["vfc"] * vfc, c["curv"] * curv], dim=1)

    def action_gradient_penalty(self, batch: Minibatch) -> torch.Tensor:
        """GP-Critic's term: lambda times the mean of ||grad_a Q||^2 at the batch, summed over both critics, (R,)."""
        actions = for_both(batch.actions).requires_grad_()
        values = self.critic(torch.cat([for_both(batch.states), actions], dim=2))
        (gradient,) = torch.autograd.grad(values.sum(), actions, create_graph=True)
        per_network = gradient.square().sum(dim=2).mean(dim=1)
        return self.coefficients["action_gradient"] * self._sum_critics(per_network)

    def actor_values(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Q of every run's two critics at (R, B, .) with the critics held constant: (R, 2, B)."""
        inputs = for_both(torch.cat([states, actions], dim=2))
        weights = [w.detach() for w in self.critic.weights]
        biases = [b.detach() for b in self.critic.biases]
        values = stacked_mlp(weights, biases, inputs)
        return values.view(self.runs, 2, -1)

    def first_critic_values(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Q of every run's first critic at (R, B, .) with the critic held constant: (R, B)."""
        weights = [w.detach()[::2] for w in self.critic.weights]
        biases = [b.detach()[::2] for b in self.critic.biases]
        return stacked_mlp(weights, biases, torch.cat([states, actions], dim=2)).squeeze(2)

    def deterministic_actions(self, states: torch.Tensor) -> torch.Tensor:
        """The policy without noise: (R, B, d_s) to (R, B, d_a), in [-1, 1]."""
        return self.mean_actions(self.actor(states))

    def mean_actions(self, outputs: torch.Tensor) -> torch.Tensor:
        """The deterministic actions, in [-1, 1], in the actor's outputs (R, B, .)."""
        return torch.tanh(outputs[..., : self.action_dim])

    def actor_term(self, outputs_here: torch.Tensor, batch: Minibatch, noise: UpdateNoise) -> torch.Tensor:
        """The weighted sum of the actor-side terms in use, (R,), from the actor's outputs at s."""
        total = torch.zeros(self.runs, device=self.streams.device, dtype=self.streams.dtype)
        if not self.terms - _CRITIC_TERMS:
            return total
        c = self.coefficients
        terms = self._own_terms()
        states = [batch.next_states, *(term.at(batch, noise.near, c) for term in terms)]
        outputs = self.actor(torch.cat(states, dim=1)).split(batch.states.shape[1], dim=1)
        here, (after, *there) = self.mean_actions(outputs_here), map(self.mean_actions, outputs)
        for term, actions in zip(terms, there, strict=True):
            total = total + term.value(c, here, after, actions, batch)
        if "asap" in self.terms:
            guess, target = self._predictions(outputs_here), self._predictions(self.predictor_target(batch.states))
            total = total + c["asap_spatial"] * actor_terms.asap_spatial(after, target)
            total = total + c["asap_predictor"] * actor_terms.asap_predictor(guess, after)
        return total

    def _predictions(self, outputs: torch.Tensor) -> torch.Tensor:
        """ASAP's predictor head: the last outputs of the actor."""
        return torch.tanh(outputs[..., -self.action_dim :])

    def _sum_critics(self, per_network: torch.Tensor) -> torch.Tensor:
        return per_network.view(self.runs, 2).sum(dim=1)

    # --- steps shared by both algorithms ----------------------------------------------------------------------

    def update(self, batch: Minibatch, noise: UpdateNoise) -> None:
        """One gradient step."""
        self.updates += 1
        self._learn(batch, noise, self.updates % self.policy_delay == 0)

    def learn(self, batch: Minibatch, noise: UpdateNoise, with_actor: bool) -> None:
        """What a gradient step does on the device: critics always, the actor where told, targets."""
        raise NotImplementedError

    def critic_gradient(self, batch: Minibatch, noise: UpdateNoise) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The terms of `critic_loss` and GP-Critic's, (R, 5), and the gradient of all runs' sum by the parameters."""
        terms = self.critic_loss(batch, self.target_values(batch, noise), noise, self.td_scale)
        loss = terms.sum()
        if "gp" in self.terms:
            penalty = self.action_gradient_penalty(batch)
            loss = loss + penalty.sum()
        else:
            penalty = torch.zeros_like(terms[:, 0])
        return torch.cat([terms, penalty[:, None]], dim=1).detach(), _gradient(loss, self.critic)

    def actor_gradient(self, batch: Minibatch, noise: UpdateNoise) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The actor's loss and its actor-side term, (R, 2), and the gradient of all runs' sum by its parameters."""
        terms = torch.stack(self.actor_loss(batch, noise), dim=1)
        return terms.detach(), _gradient(terms.sum(), self.actor)

    def explore(self, states: torch.Tensor) -> torch.Tensor:
        """Actions for one environment step per run, (R, d_s) to (R, d_a), in [-1, 1]."""
        raise NotImplementedError

    def add_exploration_noise(self, actions: torch.Tensor) -> torch.Tensor:
        """The uniformly random actions of the warm-up, (R, d_a) in [-1, 1], with what the algorithm adds to them."""
        raise NotImplementedError

    def target_values(self, batch: Minibatch, noise: UpdateNoise) -> torch.Tensor:
        """What the critics regress on, (R, B), without gradients."""
        raise NotImplementedError

    def actor_loss(self, batch: Minibatch, noise: UpdateNoise) -> tuple[torch.Tensor, torch.Tensor]:
        """The algorithm's own loss of the actor and the actor-side term, each (R,)."""
        raise NotImplementedError

    def step_critic(self, batch: Minibatch, noise: UpdateNoise) -> None:
        """One Adam step on both critics of every run."""
        terms, gradient = self._critic_gradient(batch, noise)
        _adam_step(self.critic_optimizer, gradient)
        if self.settings.spectral_critic:
            self.critic.normalise_spectra()
        self.diagnostics[:, :5] = terms
        self._mark_diverged(terms)

    def step_actor(self, batch: Minibatch, noise: UpdateNoise) -> None:
        """One Adam step on the actor of every run."""
        terms, gradient = self._actor_gradient(batch, noise)
        _adam_step(self.actor_optimizer, gradient)
        self.diagnostics[:, 5:] = terms

    def mark_diverged_networks(self) -> None:
        """Mark the runs whose actor or critics hold NaN or inf; the losses show it one update later."""
        for network in (self.actor, self.critic):
            for parameter in network.parameters():
                self._mark_diverged(parameter.detach().reshape(self.runs, -1))

    def _mark_diverged(self, values: torch.Tensor) -> None:
        """Runs with a non-finite value in their row diverged at this step, unless they had before."""
        newly = ~torch.isfinite(values).all(dim=1) & (self.diverged_at < 0)
        self.diverged_at.copy_(torch.where(newly, self.environment_step, self.diverged_at))

    @torch.no_grad()
    def step_predictor_target(self) -> None:
        """ASAP's target predictor follows its actor, in every run at the run's own rate."""
        if "asap" in self.terms:
            rate = self.coefficients["asap_target_tau"][:, None, None]
            for target, source in zip(self.predictor_target.parameters(), self.actor.parameters(), strict=True):
                target.lerp_(source, rate)

    # --- saving ----------------------------------------------------------------------------------------------

    _NETWORKS = ("actor", "actor_target", "critic", "critic_target", "predictor_target")

    def state_dict(self) -> dict:
        """Everything an update reads or writes, but for the streams."""
        return {
            "networks": {name: getattr(self, name).state_dict() for name in self._NETWORKS if hasattr(self, name)},
            "optimizers": [self.actor_optimizer.state_dict(), self.critic_optimizer.state_dict()],
            "updates": self.updates,
            "diverged_at": self.diverged_at,
            "diagnostics": self.diagnostics,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` saved."""
        for name, networks in state["networks"].items():
            getattr(self, name).load_state_dict(networks)
        for optimizer, saved in zip((self.actor_optimizer, self.critic_optimizer), state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.updates = state["updates"]
        self.diverged_at.copy_(state["diverged_at"])
        self.diagnostics.copy_(state["diagnostics"])


def fused(function: Callable) -> Callable:
    """`function` under torch.compile, or as it is, with a warning, where compiling fails (no C++ compiler, say)."""
    # One process may train many batches, each with sizes of its own; the default is 8 before compiling stops.
    torch._dynamo.config.recompile_limit = 256
    # Missing headers are reported once, by the compiler's failure.
    warnings.filterwarnings("ignore", "Can't find Python.h")
    torch._dynamo.config.trace_autograd_ops = True
    compiled = torch.compile(function, dynamic=False, fullgraph=True)

    def call(*arguments):
        nonlocal compiled
        try:
            return compiled(*arguments)
        except (torch._dynamo.exc.TorchDynamoException, OSError) as error:
            lines = str(error).splitlines()
            reason = next((line for line in lines if "error: " in line), lines[0]).rpartition("error: ")[2]
            warnings.warn(f"torch.compile failed, training goes on uncompiled: {reason}", stacklevel=2)
            compiled = function
            return function(*arguments)

    return call


def _adam(network: StackedMLP, learning_rate: float, captured: bool) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True, capturable=captured)


def _gradient(loss: torch.Tensor, network: StackedMLP) -> tuple[torch.Tensor, ...]:
    """By the network's parameters, and laid out as these are: fused Adam reads a transposed gradient wrongly."""
    return tuple(g.contiguous() for g in torch.autograd.grad(loss, list(network.parameters())))


def _adam_step(optimizer: torch.optim.Adam, gradient: Sequence[torch.Tensor]) -> None:
    for parameter, of_parameter in zip(optimizer.param_groups[0]["params"], gradient, strict=True):
        parameter.grad = of_parameter
    optimizer.step()


def for_both(per_run: torch.Tensor) -> torch.Tensor:
    """(R, ...) to (2R, ...): each run's rows for its two critics."""
    return per_run.repeat_interleave(2, dim=0)


@torch.no_grad()
def polyak(target: StackedMLP, source: StackedMLP, tau: float) -> None:
    """target <- (1 - tau) target + tau source."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)
