"""TD3 (Fujimoto et al. 2018) for R runs at once, with Stable-Baselines3's update semantics."""

from __future__ import annotations

import copy

import torch

from paperlib.pave.engine.actor_critic import ActorCritic, UpdateNoise, for_both, polyak
from paperlib.pave.engine.replay import Minibatch


class TD3(ActorCritic):
    """Twin critics, target policy smoothing, delayed actor and targets."""

    outputs_per_action = 1
    td_scale = 1.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.policy_delay = self.settings.policy_delay
        self.actor_target = copy.deepcopy(self.actor).requires_grad_(False)

    @torch.no_grad()
    def explore(self, states: torch.Tensor) -> torch.Tensor:
        """Actions for one environment step per run, (R, d_s) to (R, d_a), in [-1, 1]."""
        return self.add_exploration_noise(self.mean_actions(self.actor(states[:, None]))[:, 0])

    def add_exploration_noise(self, actions: torch.Tensor) -> torch.Tensor:
        """Normal action noise, clipped to the box; Stable-Baselines3 adds it to warm-up actions too."""
        noise = self.settings.exploration_noise_std * self.streams.normal("exploration", self.action_dim)
        return (actions + noise).clamp(-1, 1)

    def learn(self, batch: Minibatch, noise: UpdateNoise, with_actor: bool) -> None:
        """Critics always; actor and targets every `policy_delay` updates."""
        s = self.settings
        self.step_critic(batch, noise)
        if with_actor:
            self.step_actor(batch, noise)
            polyak(self.critic_target, self.critic, s.tau)
            polyak(self.actor_target, self.actor, s.tau)
        self.step_predictor_target()

    @torch.no_grad()
    def target_values(self, batch: Minibatch, noise: UpdateNoise) -> torch.Tensor:
        """r + gamma min_i Q_i'(s', pi'(s') + clipped noise), (R, B)."""
        s = self.settings
        smoothing = (s.target_policy_noise * noise.next_actions).clamp(-s.target_noise_clip, s.target_noise_clip)
        next_actions = (self.mean_actions(self.actor_target(batch.next_states)) + smoothing).clamp(-1, 1)
        next_inputs = for_both(torch.cat([batch.next_states, next_actions], dim=2))
        next_values = self.critic_target(next_inputs).view(self.runs, 2, -1).amin(dim=1)
        return batch.rewards + s.gamma * batch.continues * next_values

    def actor_loss(self, batch: Minibatch, noise: UpdateNoise) -> tuple[torch.Tensor, torch.Tensor]:
        """-mean Q_1(s, pi(s)) and the actor-side term, each (R,)."""
        outputs = self.actor(batch.states)
        values = self.first_critic_values(batch.states, self.mean_actions(outputs))
        return -values.mean(dim=1), self.actor_term(outputs, batch, noise)
