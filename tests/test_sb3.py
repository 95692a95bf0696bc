"""PAVE added to Stable-Baselines3: the same weights as a `train()` written out by hand, and all else as before."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG, PPO, SAC, TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import polyak_update, set_random_seed
from stable_baselines3.common.vec_env import VecNormalize
from torch.nn.functional import mse_loss

from paperlib.pave import NoCurvatureError, pave_losses
from paperlib.pave.engine.settings import Coefficients
from paperlib.pave.sb3 import _plain_networks, with_pave

WEIGHTS = Coefficients(mpr=2.0, vfc=0.5, curv=1.5, sigma=0.05, delta=0.7)
SMALL = {"learning_starts": 40, "batch_size": 16, "buffer_size": 400, "seed": 1}
SILU = {"net_arch": [8, 8], "activation_fn": torch.nn.SiLU}


def small(algorithm, **changes):
    settings = {**SMALL, "policy_kwargs": dict(SILU), "pave": WEIGHTS, **changes}
    if algorithm is SAC:
        settings.setdefault("ent_coef", 0.2)
    return with_pave(algorithm)("MlpPolicy", "Pendulum-v1", **settings)


def penalty(model, batch):
    noise = WEIGHTS.sigma * torch.randn_like(batch.observations)
    probes = torch.randint_like(batch.actions, 2) * 2 - 1
    losses = pave_losses(
        *(tuple(model.critic.q_networks), batch.observations, batch.actions, batch.next_observations),
        **{"state_noise": noise, "probes": probes, "delta": WEIGHTS.delta},
    )
    return (WEIGHTS.mpr * losses.mpr + WEIGHTS.vfc * losses.vfc + WEIGHTS.curv * losses.curv).sum()


def step(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def td3_update(model, batch):
    with torch.no_grad():
        noise = batch.actions.clone().normal_(0, model.target_policy_noise)
        noise = noise.clamp(-model.target_noise_clip, model.target_noise_clip)
        following = (model.actor_target(batch.next_observations) + noise).clamp(-1, 1)
        value = torch.minimum(*model.critic_target(batch.next_observations, following))
        target = batch.rewards + (1 - batch.dones) * model.gamma * value
    values = model.critic(batch.observations, batch.actions)
    step(model.critic.optimizer, sum(mse_loss(v, target) for v in values) + penalty(model, batch))
    model._n_updates += 1
    if model._n_updates % model.policy_delay == 0:
        actions = model.actor(batch.observations)
        step(model.actor.optimizer, -model.critic.q1_forward(batch.observations, actions).mean())
        polyak_update(model.critic.parameters(), model.critic_target.parameters(), model.tau)
        polyak_update(model.actor.parameters(), model.actor_target.parameters(), model.tau)


def sac_update(model, batch):
    actions, log_density = model.actor.action_log_prob(batch.observations)
    with torch.no_grad():
        following, log_density_after = model.actor.action_log_prob(batch.next_observations)
        value = torch.minimum(*model.critic_target(batch.next_observations, following))
        value = value - model.ent_coef_tensor * log_density_after[:, None]
        target = batch.rewards + (1 - batch.dones) * model.gamma * value
    values = model.critic(batch.observations, batch.actions)
    step(model.critic.optimizer, 0.5 * sum(mse_loss(v, target) for v in values) + penalty(model, batch))
    value = torch.minimum(*model.critic(batch.observations, actions))
    step(model.actor.optimizer, (model.ent_coef_tensor * log_density[:, None] - value).mean())
    polyak_update(model.critic.parameters(), model.critic_target.parameters(), model.tau)


@pytest.mark.parametrize(("algorithm", "update"), [(TD3, td3_update), (SAC, sac_update)])
def test_training_equals_a_train_written_out(algorithm, update):
    ours, by_hand = small(algorithm), small(algorithm)
    for model in (ours, by_hand):
        model.learn(30)  # fills the replay buffer, without updates
    before = [p.clone() for p in ours.critic.parameters()]
    set_random_seed(5)
    ours.train(6, 16)
    set_random_seed(5)
    for _ in range(6):
        update(by_hand, by_hand.replay_buffer.sample(16))
    for name, weights in ours.policy.state_dict().items():
        torch.testing.assert_close(weights, by_hand.policy.state_dict()[name], rtol=0, atol=0)
    assert all((p != q).any() for p, q in zip(before, ours.critic.parameters(), strict=True))


@pytest.mark.parametrize("algorithm", [TD3, SAC])
def test_the_closed_form_of_its_networks_equals_the_losses_of_the_critic_that_it_calls(algorithm):
    model = small(algorithm)
    model.learn(30)
    batch = model.replay_buffer.sample(16)
    arguments = (batch.observations, batch.actions, batch.next_observations)
    rest = {"state_noise": 0.05 * torch.randn_like(batch.observations), "probes": torch.ones_like(batch.actions)}
    losses = [
        pave_losses(critic, *arguments, **rest, delta=0.7) for critic in (_plain_networks(model.critic), model.critic)
    ]
    assert isinstance(_plain_networks(model.critic), tuple) and losses[0].mpr.shape == (2,)
    torch.testing.assert_close(tuple(losses[0]), tuple(losses[1]), rtol=1e-4, atol=1e-8)


def test_without_weight_it_is_the_algorithm_itself():
    nothing, plain = small(TD3, pave=Coefficients()), TD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(SILU), **SMALL)
    for model in (nothing, plain):
        model.learn(30)
        set_random_seed(5)
        model.replay_buffer.sample(16)
    for model in (nothing, plain):
        set_random_seed(5)
        model.train(1, 16)
    for ours, theirs in zip(nothing.critic.parameters(), plain.critic.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("algorithm", [TD3, SAC])
def test_a_saved_model_loads_and_goes_on_training(algorithm, tmp_path):
    model = small(algorithm)
    model.learn(80)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = with_pave(algorithm).load(tmp_path / "model", env=model.env)
    loaded.load_replay_buffer(tmp_path / "buffer")
    assert loaded.pave == WEIGHTS
    for name, weights in model.policy.state_dict().items():
        torch.testing.assert_close(loaded.policy.state_dict()[name], weights)
    loaded.learn(20, reset_num_timesteps=False)
    assert loaded.num_timesteps == 100


def test_the_losses_are_logged():
    model = small(TD3)
    model.learn(60)
    logged = model.logger.name_to_value
    assert {"train/pave_mpr", "train/pave_vfc", "train/pave_curv"} <= logged.keys()
    assert logged["train/pave_curv"] > 0


def test_several_environments_train():
    environments = make_vec_env("Pendulum-v1", n_envs=2)
    model = with_pave(DDPG)("MlpPolicy", environments, pave=WEIGHTS, policy_kwargs=dict(SILU), **SMALL)
    model.learn(60)
    assert model._n_updates > 0


def test_the_losses_see_the_observations_that_the_algorithm_sees(monkeypatch):
    seen = []

    def watched(critic, states, actions, next_states, **others):
        seen.append(states.abs().max().item())
        return pave_losses(critic, states, actions, next_states, **others)

    monkeypatch.setattr("paperlib.pave.sb3.pave_losses", watched)
    environments = VecNormalize(make_vec_env("Pendulum-v1"), clip_obs=0.1)
    with_pave(TD3)("MlpPolicy", environments, pave=WEIGHTS, policy_kwargs=dict(SILU), **SMALL).learn(50)
    assert seen and max(seen) <= 0.1 + 1e-6


class InFloat64(gymnasium.ObservationWrapper):
    """Pendulum with observations in float64, as MuJoCo's are."""

    observation_space = gymnasium.spaces.Box(-8, 8, (3,), np.float64)

    def observation(self, observation):
        return observation.astype(np.float64)


def test_observations_in_float64_train_like_others():
    environment = InFloat64(gymnasium.make("Pendulum-v1"))
    model = with_pave(TD3)("MlpPolicy", environment, pave=WEIGHTS, policy_kwargs=dict(SILU), **SMALL)
    model.learn(50)
    assert model.replay_buffer.observations.dtype == np.float64 and model.logger.name_to_value["train/pave_mpr"] > 0


class Halved(TD3):
    """A user's subclass: half the updates asked for."""

    def train(self, gradient_steps, batch_size=64):
        super().train(gradient_steps // 2, batch_size)


def test_a_users_subclass_keeps_its_own_train_and_can_be_made_of_the_result():
    class Named(with_pave(Halved)):
        pass

    assert with_pave(Halved) is with_pave(Halved) and issubclass(with_pave(Halved), Halved)
    for made in (with_pave(Halved), Named):
        model = made("MlpPolicy", "Pendulum-v1", pave=WEIGHTS, policy_kwargs=dict(SILU), **SMALL)
        model.learn(30)
        model.train(6, 16)
        assert model._n_updates == 3 and model.logger.name_to_value["train/pave_mpr"] > 0


def test_a_callback_sees_the_losses_stops_training_and_training_goes_on():
    class Stop(BaseCallback):
        def _on_step(self):
            self.last = self.logger.name_to_value.get("train/pave_curv", 0.0)
            return self.num_timesteps < 50

    model, callback = small(TD3), Stop()
    model.learn(200, callback=callback)
    assert model.num_timesteps == 50 and callback.last > 0
    updates = model._n_updates
    model.learn(10, reset_num_timesteps=False)
    assert model.num_timesteps == 60 and model._n_updates == updates + 10


def test_a_model_saved_without_pave_goes_on_with_it(tmp_path):
    plain = TD3("MlpPolicy", "Pendulum-v1", policy_kwargs=dict(SILU), **SMALL)
    plain.save(tmp_path / "plain")
    model = with_pave(TD3).load(tmp_path / "plain", env=plain.env, pave=WEIGHTS)
    model.learn(60)
    assert "train/pave_mpr" in model.logger.name_to_value
    with pytest.raises(ValueError, match="PAVE needs its weights"):
        with_pave(TD3).load(tmp_path / "plain")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu_trains():
    model = small(TD3, device="cuda")
    model.learn(60)
    assert next(model.critic.parameters()).is_cuda and "train/pave_mpr" in model.logger.name_to_value


class OwnOptimizer(TD3):
    """As another version of train() might be: the critic steps by an optimiser that PAVE does not know."""

    def train(self, gradient_steps, batch_size=64):
        self.replay_buffer.sample(batch_size)


class TwoBatches(TD3):
    def train(self, gradient_steps, batch_size=64):
        self.replay_buffer.sample(batch_size)
        super().train(gradient_steps, batch_size)


@pytest.mark.parametrize(
    ("algorithm", "message"), [(OwnOptimizer, "PAVE had no part in training"), (TwoBatches, "2 minibatches were drawn")]
)
def test_a_train_that_leaves_pave_out_is_no_silent_success(algorithm, message):
    model = small(algorithm)
    model.learn(30)
    with pytest.raises(RuntimeError, match=message):
        model.train(1, 16)
    assert "sample" not in vars(model.replay_buffer)


@pytest.mark.parametrize("other", [PPO, dict, "TD3"])
def test_what_is_no_td3_or_sac_is_refused(other):
    with pytest.raises(TypeError, match="TD3, SAC or a subclass"):
        with_pave(other)


class Pictures(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 1, (4, 4), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)


def test_observations_that_are_no_vectors_are_refused():
    with pytest.raises(ValueError, match=r"observations that are vectors, .*\(4, 4\)"):
        with_pave(TD3)("MlpPolicy", Pictures(), pave=WEIGHTS)


def test_missing_weights_and_critics_without_curvature_are_refused():
    with pytest.raises(ValueError, match="PAVE needs its weights"):
        with_pave(TD3)("MlpPolicy", "Pendulum-v1")
    with_relu = small(TD3, policy_kwargs={"net_arch": [8, 8]})
    with pytest.raises(NoCurvatureError):
        with_relu.learn(60)
    assert "sample" not in vars(with_relu.replay_buffer)  # an error leaves nothing behind
