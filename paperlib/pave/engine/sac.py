"""SAC (Haarnoja et al. 2018) for R runs at once, fixed entropy coefficient, Stable-Baselines3's update semantics."""

from __future__ import annotations

import math

import torch

from paperlib.pave.engine.actor_critic import ActorCritic, UpdateNoise, for_both, polyak
from paperlib.pave.engine.replay import Minibatch

LOG_STD_RANGE = (-20.0, 2.0)
_SQUASH_EPSILON = 1e-6  # keeps log(1 - a^2) finite at the edge of the box


class SAC(ActorCritic):
    """Twin critics, squashed Gaussian actor."""

    outputs_per_action = 2
    td_scale = 0.5
    needs_action_noise = True

    @torch.no_grad()
    def explore(self, states: torch.Tensor) -> torch.Tensor:
        """Sampled actions for one environment step per run, (R, d_s) to (R, d_a), in [-1, 1]."""
        noise = self.streams.normal("exploration", 1, self.action_dim)
        return self.sample(self.actor(states[:, None]), noise)[0][:, 0]

    def add_exploration_noise(self, actions: torch.Tensor) -> torch.Tensor:
        """SAC's warm-up actions are left as they are."""
        return actions

    def sample(self, outputs: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Actions tanh(mean + std noise), (R, B, d_a), and their log-densities, (R, B)."""
        mean, log_std = outputs[..., : 2 * self.action_dim].chunk(2, dim=2)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        actions = torch.tanh(mean + log_std.exp() * noise)
        gaussian = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        return actions, (gaussian - torch.log(1 - actions.square() + _SQUASH_EPSILON)).sum(dim=2)

    def learn(self, batch: Minibatch, noise: UpdateNoise, with_actor: bool) -> None:
        """Critics, then the actor, then the targets."""
        self.step_critic(batch, noise)
        if with_actor:
            self.step_actor(batch, noise)
        polyak(self.critic_target, self.critic, self.settings.tau)
        self.step_predictor_target()

    @torch.no_grad()
    def target_values(self, batch: Minibatch, noise: UpdateNoise) -> torch.Tensor:
        """r + gamma (min_i Q_i'(s', a') - alpha log pi(a'|s')), (R, B)."""
        s = self.settings
        next_actions, log_density = self.sample(self.actor(batch.next_states), noise.next_actions)
        next_inputs = for_both(torch.cat([batch.next_states, next_actions], dim=2))
        next_values = self.critic_target(next_inputs).view(self.runs, 2, -1).amin(dim=1)
        return batch.rewards + s.gamma * batch.continues * (next_values - s.entropy_coefficient * log_density)

    def actor_loss(self, batch: Minibatch, noise: UpdateNoise) -> tuple[torch.Tensor, torch.Tensor]:
        """mean(alpha log pi(a|s) - min_i Q_i(s, a)) and the actor-side term, each (R,)."""
        outputs = self.actor(batch.states)
        actions, log_density = self.sample(outputs, noise.actions)
        values = self.actor_values(batch.states, actions).amin(dim=1)
        loss = (self.settings.entropy_coefficient * log_density - values).mean(dim=1)
        return loss, self.actor_term(outputs, batch, noise)
