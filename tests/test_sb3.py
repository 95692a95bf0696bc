"""PAVE added to Stable-Baselines3: the same weights as a `train()` written out by hand, and all else as before."""

import pytest
import torch
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.utils import polyak_update, set_random_seed
from torch.nn.functional import mse_loss

from paperlib.pave import NoCurvatureError, pave_losses
from paperlib.pave.engine.settings import Coefficients
from paperlib.pave.sb3 import with_pave

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
        *(model.critic, batch.observations, batch.actions, batch.next_observations),
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


def test_several_environments_and_subclasses_train():
    environments = make_vec_env("Pendulum-v1", n_envs=2)
    model = with_pave(DDPG)("MlpPolicy", environments, pave=WEIGHTS, policy_kwargs=dict(SILU), **SMALL)
    model.learn(60)
    assert model._n_updates > 0


def test_missing_weights_and_critics_without_curvature_are_refused():
    with pytest.raises(ValueError, match="PAVE needs its weights"):
        with_pave(TD3)("MlpPolicy", "Pendulum-v1")
    with_relu = small(TD3, policy_kwargs={"net_arch": [8, 8]})
    with pytest.raises(NoCurvatureError):
        with_relu.learn(60)
    assert "sample" not in vars(with_relu.replay_buffer)  # an error leaves nothing behind
