"""TD3 and SAC against Stable-Baselines3, whose own `train()` and `collect_rollouts()` run unmodified.

Both sides get the same weights, minibatches and random numbers; SB3's are put in where it samples them.
"""

import dataclasses

import gymnasium
import numpy as np
import pytest
import stable_baselines3 as sb3
import torch
from stable_baselines3.common.buffers import ReplayBufferSamples
from stable_baselines3.common.logger import Logger
from torch import nn

from paperlib.pave.engine import training
from paperlib.pave.engine.actor_critic import DIAGNOSTICS
from paperlib.pave.engine.replay import Minibatch, ReplayBuffer
from paperlib.pave.engine.sac import SAC
from paperlib.pave.engine.settings import Coefficients, published_settings
from paperlib.pave.engine.streams import RandomStreams
from paperlib.pave.engine.td3 import TD3

STATE_DIM, ACTION_DIM, UPDATES = 6, 3, 6
ACTION_BOUND = 2.0  # not 1, so that scaled and environment actions differ
AGENTS = {"td3": (TD3, sb3.TD3), "sac": (SAC, sb3.SAC)}
ENDINGS = {4: (True, False), 7: (False, True), 9: (True, True)}  # step: (terminated, truncated)


class ScriptedEnvironment(gymnasium.Env):
    """Step t arrives in state t + 0.5 (every coordinate); an episode that follows step t starts in state t."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (STATE_DIM,), np.float32)
    action_space = gymnasium.spaces.Box(-ACTION_BOUND, ACTION_BOUND, (ACTION_DIM,), np.float32)

    def __init__(self):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.full(STATE_DIM, self.steps, np.float32), {}

    def step(self, action):
        self.steps += 1
        observation = np.full(STATE_DIM, self.steps + 0.5, np.float32)
        return observation, float(self.steps), *ENDINGS.get(self.steps, (False, False)), {}


def make_ours(algorithm, seeds=(3,)):
    streams = RandomStreams(seeds, device=torch.device("cpu"), dtype=torch.float32)
    settings = published_settings(algorithm, "walker")
    return AGENTS[algorithm][0](settings, [Coefficients()] * len(seeds), STATE_DIM, ACTION_DIM, streams)


def make_theirs(algorithm, settings, **changes):
    """SB3's algorithm as the published runs set it up."""
    names = ["learning_rate", "gamma", "tau", "batch_size", "learning_starts", "train_freq", "gradient_steps"]
    if algorithm == "td3":
        names += ["policy_delay", "target_policy_noise", "target_noise_clip"]
    arguments = {name: getattr(settings, name) for name in names} | {"buffer_size": 1000}
    if algorithm == "sac":
        arguments["ent_coef"] = settings.entropy_coefficient
    network = {"net_arch": list(settings.hidden), "activation_fn": nn.SiLU}
    fixed = {"policy_kwargs": network, "seed": 0, "device": "cpu"}
    model = AGENTS[algorithm][1]("MlpPolicy", ScriptedEnvironment(), **arguments | fixed | changes)
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def actor_layers(actor):
    """SB3's actor as one Sequential with our layout: SAC's mean and log standard deviation are one output layer."""
    if hasattr(actor, "latent_pi"):
        head = nn.Linear(actor.mu.in_features, 2 * ACTION_DIM)
        head.weight.data = torch.cat([actor.mu.weight, actor.log_std.weight]).detach()
        head.bias.data = torch.cat([actor.mu.bias, actor.log_std.bias]).detach()
        return nn.Sequential(*actor.latent_pi, head)
    return nn.Sequential(*actor.mu[:-1])  # without the final Tanh


def critic_layers(critic):
    return list(critic.q_networks)


def copy_weights(ours, theirs):
    ours.actor.load(0, actor_layers(theirs.actor))
    for index, layers in enumerate(critic_layers(theirs.critic)):
        ours.critic.load(index, layers)
        ours.critic_target.load(index, critic_layers(theirs.critic_target)[index])
    if hasattr(ours, "actor_target"):
        ours.actor_target.load(0, actor_layers(theirs.actor_target))


def network_pairs(ours, theirs):
    """(name, our network, SB3's network), both as lists of tensors in torch.nn.Linear's layout."""
    pairs = [("actor", ours.actor.unstack(0), actor_layers(theirs.actor))]
    for index in range(2):
        pairs.append((f"critic {index}", ours.critic.unstack(index), critic_layers(theirs.critic)[index]))
        target = critic_layers(theirs.critic_target)[index]
        pairs.append((f"critic target {index}", ours.critic_target.unstack(index), target))
    if hasattr(ours, "actor_target"):
        pairs.append(("actor target", ours.actor_target.unstack(0), actor_layers(theirs.actor_target)))
    return [(name, *([p.detach().clone() for p in net.parameters()] for net in nets)) for name, *nets in pairs]


def distance(one, other):
    """Euclidean distance of two networks' parameters."""
    return sum((a - b).double().square().sum() for a, b in zip(one, other, strict=True)).sqrt().item()


def random_batch(algorithm, update):
    source = torch.Generator().manual_seed(update)
    size = published_settings(algorithm, "walker").batch_size
    states, next_states = (torch.randn(1, size, STATE_DIM, generator=source) for _ in range(2))
    actions = torch.rand(1, size, ACTION_DIM, generator=source) * 2 - 1
    rewards = torch.randn(1, size, generator=source)
    continues = (torch.rand(1, size, generator=source) > 0.2).float()
    return Minibatch(states, actions, rewards, next_states, continues)


def give_sb3(monkeypatch, theirs, batches, noises):
    """Make SB3 sample these minibatches and draw these random numbers, in its own order."""
    columns = [(b.states, b.actions, b.next_states, 1 - b.continues[..., None], b.rewards[..., None]) for b in batches]
    samples = iter([ReplayBufferSamples(*(column[0] for column in batch)) for batch in columns])
    monkeypatch.setattr(theirs.replay_buffer, "sample", lambda size, env=None: next(samples))
    draws = iter([n[0] for noise in noises for n in (noise.actions, noise.next_actions) if n is not None])
    monkeypatch.setattr(torch.Tensor, "normal_", lambda tensor, mean, std: tensor.copy_(mean + std * next(draws)))
    monkeypatch.setattr(torch.distributions.normal, "_standard_normal", lambda shape, dtype, device: next(draws))
    return draws


@pytest.mark.parametrize("algorithm", AGENTS)
def test_losses_and_updated_networks_equal_sb3s_to_float32_rounding(monkeypatch, algorithm):
    ours = make_ours(algorithm)
    theirs = make_theirs(algorithm, ours.settings)
    copy_weights(ours, theirs)
    start = network_pairs(ours, theirs)
    batches = [random_batch(algorithm, update) for update in range(UPDATES)]
    noises = [ours.draw_noise(batch) for batch in batches]
    draws = give_sb3(monkeypatch, theirs, batches, noises)
    for batch, noise in zip(batches, noises, strict=True):
        ours.update(batch, noise)
        theirs.train(gradient_steps=1, batch_size=ours.settings.batch_size)
        logged = theirs.logger.name_to_value
        assert ours.diagnostics[0, DIAGNOSTICS.index("td_loss")].item() == pytest.approx(
            logged["train/critic_loss"], rel=2e-5
        )
        if "train/actor_loss" in logged:  # TD3's delayed actor: every second update
            assert ours.diagnostics[0, DIAGNOSTICS.index("actor_loss")].item() == pytest.approx(
                logged["train/actor_loss"], rel=2e-5, abs=1e-6
            )
    assert next(draws, None) is None, "SB3 drew fewer numbers than it was given"
    for (name, mine, other), (_, before, _) in zip(network_pairs(ours, theirs), start, strict=True):
        moved, apart = distance(before, other), distance(mine, other)
        assert moved > 5e-3, name
        # The constant is the rounding of the stored weights, which shows where a target has hardly moved.
        assert apart < 1e-4 * moved + 3e-6, f"{name}: {apart} apart after moving {moved}"


@pytest.mark.parametrize("algorithm", AGENTS)
def test_sb3s_start_weights_have_our_distribution(algorithm):
    ours = make_ours(algorithm, seeds=(1, 2, 3))
    theirs = make_theirs(algorithm, ours.settings)
    pairs = [(ours.actor, actor_layers(theirs.actor)), (ours.critic, critic_layers(theirs.critic)[0])]
    for stack, layers in pairs:
        linears = [layer for layer in layers if isinstance(layer, nn.Linear)]
        assert stack.sizes == (linears[0].in_features, *(layer.out_features for layer in linears))
        for weight, layer in zip(stack.weights, linears, strict=True):
            bound = layer.in_features**-0.5
            for values in (weight, layer.weight):
                assert bound * 0.9 < values.abs().max() <= bound
                assert values.std().item() == pytest.approx(bound / 3**0.5, rel=0.15)


@pytest.mark.parametrize("warm_up", (True, False), ids=("warm-up", "policy"))
def test_td3_explores_like_sb3(monkeypatch, warm_up):
    ours = make_ours("td3")
    states = 3 * torch.randn(1, STATE_DIM, generator=torch.Generator().manual_seed(2))
    noise = torch.tensor([[-0.7, 2.0, 25.0]])  # standard normal; the last one leaves the box
    theirs = make_theirs("td3", ours.settings, action_noise=lambda: 0.1 * noise.numpy())
    copy_weights(ours, theirs)
    uniform = torch.tensor([[-0.95, 0.3, 0.9]])
    monkeypatch.setattr(theirs.action_space, "sample", lambda: ACTION_BOUND * uniform[0].numpy())
    monkeypatch.setattr(ours.streams, "normal", lambda purpose, *shape: noise)
    theirs._last_obs = states.numpy()
    environment_action, scaled = theirs._sample_action(learning_starts=int(warm_up), action_noise=theirs.action_noise)
    actions = ours.add_exploration_noise(uniform) if warm_up else ours.explore(states)
    np.testing.assert_allclose(actions.numpy(), scaled, atol=1e-6)
    expected = training.to_environment_units(actions.numpy(), theirs.action_space.low, theirs.action_space.high)
    np.testing.assert_allclose(environment_action, expected, atol=1e-6)


def test_sac_explores_like_sb3(monkeypatch):
    ours = make_ours("sac")
    theirs = make_theirs("sac", ours.settings)
    copy_weights(ours, theirs)
    states = 3 * torch.randn(1, STATE_DIM, generator=torch.Generator().manual_seed(2))
    noise = torch.tensor([[-0.7, 1.5, 0.2]])
    monkeypatch.setattr(ours.streams, "normal", lambda purpose, *shape: noise.view(1, *shape))
    monkeypatch.setattr(torch.distributions.normal, "_standard_normal", lambda shape, dtype, device: noise)
    theirs._last_obs = states.numpy()
    _, scaled = theirs._sample_action(learning_starts=0)
    np.testing.assert_allclose(ours.explore(states).numpy(), scaled, atol=1e-6)
    assert torch.equal(ours.add_exploration_noise(noise), noise)  # and its warm-up actions stay as they are


def test_sb3_stores_the_same_transitions():
    """True successors at an episode's end, bootstrapping after a time limit only, and no row for a reset."""
    theirs = make_theirs("td3", published_settings("td3", "walker"), train_freq=12)
    theirs.learn(12)
    buffer = ReplayBuffer(1, 12, STATE_DIM, ACTION_DIM)
    start = 0.0
    for step in range(1, 13):
        terminated, truncated = ENDINGS.get(step, (False, False))
        columns = torch.full((1, STATE_DIM), start), torch.zeros(1, ACTION_DIM), torch.tensor([float(step)])
        flags = torch.tensor([float(terminated)]), torch.tensor([float(terminated or truncated)])
        buffer.add(*columns, torch.full((1, STATE_DIM), step + 0.5), *flags)
        start = float(step) if terminated or truncated else step + 0.5
    batch = buffer.sample((torch.arange(12).double()[None] + 0.5) / 12)
    stored = theirs.replay_buffer._get_samples(np.arange(12))
    assert theirs.replay_buffer.size() == 12
    assert torch.equal(batch.states[0], stored.observations)
    assert torch.equal(batch.next_states[0], stored.next_observations)
    assert torch.equal(batch.rewards[0], stored.rewards[:, 0])
    assert torch.equal(1 - batch.continues[0], stored.dones[:, 0])


SCHEDULES = {"td3": {"learning_starts": 17}, "sac": {"learning_starts": 20, "train_freq": 10, "gradient_steps": 10}}


def our_schedule(monkeypatch, settings, steps):
    """Environment step of every update, and the steps at which the policy chose the action."""
    plan = training.TrainingPlan(
        environment="pendulum",
        settings=settings,
        seeds=(1,),
        coefficients=(Coefficients(),),
        steps=steps,
        evaluate_every=steps,
        evaluation_episodes=1,
        final_episodes=1,
        checkpoint_every=steps,
    )
    trainer = training.Trainer(plan)
    updates, policy_steps = [], []
    explore = trainer.agent.explore
    monkeypatch.setattr(trainer.agent, "update", lambda batch, noise: updates.append(trainer.step))
    monkeypatch.setattr(trainer.agent, "explore", lambda states: policy_steps.append(trainer.step) or explore(states))
    monkeypatch.setattr(trainer, "_evaluate", lambda: None)
    monkeypatch.setattr(trainer, "_results", lambda: [])
    trainer.run()
    return updates, policy_steps


def their_schedule(monkeypatch, algorithm, settings, steps):
    model = make_theirs(algorithm, settings)
    updates, policy_steps = [], []
    predict = model.predict

    def train(gradient_steps, batch_size):
        updates.extend(gradient_steps * [model.num_timesteps])

    def predict_and_note(*args, **kwargs):
        policy_steps.append(model.num_timesteps + 1)
        return predict(*args, **kwargs)

    monkeypatch.setattr(model, "train", train)
    monkeypatch.setattr(model, "predict", predict_and_note)
    model.learn(steps)
    return updates, policy_steps


@pytest.mark.parametrize("algorithm", AGENTS)
def test_updates_and_policy_actions_fall_on_the_same_steps_as_sb3s(monkeypatch, algorithm):
    settings = dataclasses.replace(
        published_settings(algorithm, "pendulum"), hidden=(4,), batch_size=4, **SCHEDULES[algorithm]
    )
    updates, policy_steps = our_schedule(monkeypatch, settings, 60)
    assert (updates, policy_steps) == their_schedule(monkeypatch, algorithm, settings, 60)
    first = {"td3": 18, "sac": 30}[algorithm]  # the step after the warm-up; the first full round after it
    assert updates[0] == first
    assert policy_steps[0] == settings.learning_starts + 1
