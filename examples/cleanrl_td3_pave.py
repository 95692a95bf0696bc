"""TD3 with PAVE in one file, in CleanRL's manner: read it from top to bottom, copy it, change it.

    python examples/cleanrl_td3_pave.py --env-id Pendulum-v1 --total-timesteps 20000
    python examples/cleanrl_td3_pave.py --mpr 0 --vfc 0 --curv 0        # TD3 alone

What is not plain TD3 is marked PAVE: smooth activations, and a penalty in the critics' loss. One thing needs care. As
in CleanRL, the critics here read actions in the environment's units (in Pendulum -2 to 2), but PAVE's published weights
belong to critics of actions in [-1, 1]: derivatives by the action differ by the half-width of the action space, their
squares by its square. So the losses are taken of Q(s, scale * u + bias) at u in [-1, 1].

Needs paperlib with its extra [engine], for Gymnasium's environments.
"""

import argparse
import copy
import random

import gymnasium as gym
import numpy as np
import torch
from torch import nn, optim
from torch.nn.functional import mse_loss, silu

from paperlib.pave import pave_losses, smoothness


def parse_args(arguments=None):
    parser = argparse.ArgumentParser(
        description="TD3 with PAVE", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--env-id", default="Pendulum-v1", help="any Gymnasium id with box observations and actions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--total-timesteps", type=int, default=20_000)
    parser.add_argument("--learning-starts", type=int, default=1_000, help="uniformly random actions until then")
    parser.add_argument("--buffer-size", type=int, default=200_000)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--gamma", type=float, default=0.98)
    parser.add_argument("--tau", type=float, default=0.005)
    parser.add_argument("--policy-frequency", type=int, default=2)
    parser.add_argument(
        "--exploration-noise", type=float, default=0.1, help="in units of the action space's half-width"
    )
    parser.add_argument("--policy-noise", type=float, default=0.2, help="on the target's action, likewise")
    parser.add_argument("--noise-clip", type=float, default=0.5)
    parser.add_argument("--evaluation-episodes", type=int, default=10)
    # PAVE: the published weights of TD3 on Pendulum.
    parser.add_argument("--mpr", type=float, default=2.0, help="lambda_1")
    parser.add_argument("--vfc", type=float, default=0.005, help="lambda_2")
    parser.add_argument("--curv", type=float, default=2.0, help="lambda_3")
    parser.add_argument("--sigma", type=float, default=0.01, help="state noise of MPR")
    parser.add_argument("--delta", type=float, default=1.0, help="curvature floor of Curv")
    return parser.parse_args(arguments)


class QNetwork(nn.Module):
    """Q(s, a), the action in the environment's units."""

    def __init__(self, observation_dim, action_dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(observation_dim + action_dim, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, 1)

    def forward(self, x, a):
        x = torch.cat([x, a], 1)
        x = silu(self.fc1(x))  # PAVE: SiLU, as ReLU has no second derivative
        x = silu(self.fc2(x))
        return self.fc3(x)


class Actor(nn.Module):
    """pi(s), the action in the environment's units: the middle of the action space plus tanh(.) half-widths."""

    def __init__(self, observation_dim, action_space, hidden):
        super().__init__()
        self.fc1 = nn.Linear(observation_dim, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc_mu = nn.Linear(hidden, action_space.shape[0])
        low, high = torch.as_tensor(action_space.low), torch.as_tensor(action_space.high)
        self.register_buffer("action_scale", (high - low) / 2)
        self.register_buffer("action_bias", (high + low) / 2)

    def forward(self, x):
        x = silu(self.fc1(x))
        x = silu(self.fc2(x))
        return torch.tanh(self.fc_mu(x)) * self.action_scale + self.action_bias


class ReplayBuffer:
    """Transitions in arrays, the oldest overwritten first."""

    def __init__(self, size, observation_dim, action_dim):
        widths = {"obs": observation_dim, "actions": action_dim, "next_obs": observation_dim, "rewards": 1, "dones": 1}
        self.columns = {name: np.zeros((size, width), np.float32) for name, width in widths.items()}
        self.size, self.added = size, 0

    def add(self, **transition):
        for name, value in transition.items():
            self.columns[name][self.added % self.size] = value
        self.added += 1

    def sample(self, batch_size):
        rows = np.random.randint(0, min(self.added, self.size), batch_size)
        return argparse.Namespace(**{name: torch.from_numpy(c[rows]) for name, c in self.columns.items()})


def pave_penalty(qf1, qf2, data, scale, bias, args):
    """PAVE's weighted losses at a minibatch, summed over both critics."""

    def of_scaled_actions(states, u):
        return qf1(states, u * scale + bias), qf2(states, u * scale + bias)

    losses = pave_losses(
        of_scaled_actions,
        data.obs,
        (data.actions - bias) / scale,
        data.next_obs,
        state_noise=args.sigma * torch.randn_like(data.obs),
        probes=torch.randn_like(data.actions).sign(),
        delta=args.delta,
    )
    return (args.mpr * losses.mpr + args.vfc * losses.vfc + args.curv * losses.curv).sum()


def evaluate(actor, env_id, episodes, seed):
    """Mean return and mean smoothness of the deterministic policy; lower is smoother."""
    env, returns, scores = gym.make(env_id), [], []
    for episode in range(episodes):
        obs, done, actions, rewards = env.reset(seed=seed + episode)[0], False, [], []
        while not done:
            with torch.no_grad():
                actions.append(actor(torch.as_tensor(obs, dtype=torch.float32)[None])[0].numpy())
            obs, reward, terminated, truncated, _ = env.step(actions[-1])
            rewards.append(reward)
            done = terminated or truncated
        returns.append(np.sum(rewards))
        scores.append(smoothness(np.array(actions)))
    env.close()
    return np.mean(returns), np.mean(scores)


def train(args):
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    env = gym.make(args.env_id)
    env.action_space.seed(args.seed)
    low, high = env.action_space.low, env.action_space.high
    observation_dim, action_dim = env.observation_space.shape[0], env.action_space.shape[0]

    actor = Actor(observation_dim, env.action_space, args.hidden)
    qf1, qf2 = (QNetwork(observation_dim, action_dim, args.hidden) for _ in range(2))
    target_actor, qf1_target, qf2_target = copy.deepcopy(actor), copy.deepcopy(qf1), copy.deepcopy(qf2)
    q_optimizer = optim.Adam([*qf1.parameters(), *qf2.parameters()], lr=args.learning_rate)
    actor_optimizer = optim.Adam(actor.parameters(), lr=args.learning_rate)
    scale, bias = actor.action_scale, actor.action_bias
    rb = ReplayBuffer(args.buffer_size, observation_dim, action_dim)

    obs, _ = env.reset(seed=args.seed)
    for global_step in range(args.total_timesteps):
        if global_step < args.learning_starts:
            action = env.action_space.sample()
        else:
            with torch.no_grad():
                action = actor(torch.as_tensor(obs, dtype=torch.float32)[None])[0]
                action = (action + scale * args.exploration_noise * torch.randn(action_dim)).numpy().clip(low, high)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        # A time limit does not end the task: the value of the state behind it counts.
        rb.add(obs=obs, actions=action, next_obs=next_obs, rewards=reward, dones=terminated)
        obs = env.reset()[0] if terminated or truncated else next_obs
        if global_step < args.learning_starts:
            continue

        data = rb.sample(args.batch_size)
        with torch.no_grad():
            noise = (torch.randn_like(data.actions) * args.policy_noise).clamp(
                -args.noise_clip, args.noise_clip
            ) * scale
            next_actions = target_actor(data.next_obs) + noise
            next_actions = torch.clamp(next_actions, torch.as_tensor(low), torch.as_tensor(high))
            next_values = torch.min(qf1_target(data.next_obs, next_actions), qf2_target(data.next_obs, next_actions))
            target = data.rewards + (1 - data.dones) * args.gamma * next_values
        qf_loss = mse_loss(qf1(data.obs, data.actions), target) + mse_loss(qf2(data.obs, data.actions), target)
        if args.mpr or args.vfc or args.curv:  # PAVE
            qf_loss = qf_loss + pave_penalty(qf1, qf2, data, scale, bias, args)
        q_optimizer.zero_grad()
        qf_loss.backward()
        q_optimizer.step()

        if global_step % args.policy_frequency == 0:
            actor_loss = -qf1(data.obs, actor(data.obs)).mean()
            actor_optimizer.zero_grad()
            actor_loss.backward()
            actor_optimizer.step()
            for source, target_net in ((actor, target_actor), (qf1, qf1_target), (qf2, qf2_target)):
                for parameter, of_target in zip(source.parameters(), target_net.parameters(), strict=True):
                    of_target.data.lerp_(parameter.data, args.tau)
        if global_step % 1_000 == 0:
            print(f"step {global_step}: critics' loss {qf_loss.item():.4g}", flush=True)
    env.close()
    return actor


def main(arguments=None):
    args = parse_args(arguments)
    actor = train(args)
    returned, rough = evaluate(actor, args.env_id, args.evaluation_episodes, args.seed)
    print(f"return {returned:.1f}, smoothness {rough:.4f} (lower is smoother)")


if __name__ == "__main__":
    main()
