"""Stable-Baselines3 as the independent peer: its networks act and value as the model that they came from."""

import dataclasses

import numpy as np
import pytest
import torch

from paperlib.pave.engine.checkpoints import networks_from_bytes, networks_to_bytes
from paperlib.pave.engine.evaluation import to_environment_units
from paperlib.pave.engine.settings import published_coefficients, published_seeds, published_settings
from paperlib.pave.peer import PeerRun, networks_of, peer, train_peers
from paperlib.repro import recording
from paperlib.repro.store import RunStore


@pytest.fixture(params=[("td3", "base"), ("sac", "base"), ("td3", "pave")], ids=" ".join)
def model(request):
    """A model with small networks after a few updates."""
    algorithm, method = request.param
    settings = published_settings(algorithm, "pendulum")
    small = dataclasses.replace(settings, hidden=(8, 6), learning_starts=60, buffer_size=200, batch_size=16)
    model = peer(small, published_coefficients(method, algorithm, "pendulum"), "pendulum", seed=3)
    model.learn(120)
    return model


def test_the_networks_act_and_value_as_the_model_does(model):
    networks = networks_from_bytes(networks_to_bytes(networks_of(model, {})))
    space = model.observation_space
    states = np.stack([space.sample() for _ in range(5)])
    ours = to_environment_units(
        networks.act(torch.as_tensor(states)).numpy(), model.action_space.low, model.action_space.high
    )
    np.testing.assert_allclose(ours, model.predict(states, deterministic=True)[0], rtol=1e-5, atol=1e-6)
    actions = torch.zeros(5, 1)
    theirs = model.critic(torch.as_tensor(states), actions)
    for critic, expected in zip(networks.critics, theirs, strict=True):
        torch.testing.assert_close(critic(torch.cat([torch.as_tensor(states), actions], dim=1)), expected)


def test_the_peer_has_the_published_settings(model):
    algorithm = "td3" if hasattr(model, "policy_delay") else "sac"
    published = published_settings(algorithm, "pendulum")
    for name in ("learning_rate", "tau", "gamma", "gradient_steps"):
        assert getattr(model, name) == getattr(published, name)
    assert model.train_freq.frequency == published.train_freq
    if algorithm == "sac":
        assert model.ent_coef == published.entropy_coefficient
    else:
        for name in ("policy_delay", "target_policy_noise", "target_noise_clip"):
            assert getattr(model, name) == getattr(published, name)
        assert model.action_noise._sigma == pytest.approx([published.exploration_noise_std])
    assert any(isinstance(layer, torch.nn.SiLU) for layer in model.critic.qf0)


def test_the_peer_refuses_a_method_that_it_has_not():
    settings, caps = published_settings("td3", "pendulum"), published_coefficients("caps", "td3", "pendulum")
    with pytest.raises(ValueError, match="no terms but PAVE's, asked for caps"):
        peer(settings, caps, "pendulum", seed=0)


def test_a_run_is_trained_once_and_keeps_what_the_engines_runs_keep(tmp_path, monkeypatch):
    run, store = PeerRun("pendulum", "sac", "base", seed=7, steps=60, final_episodes=1), RunStore(tmp_path)
    (record,) = train_peers([run], store)
    assert set(record.column_types) == {"episodes", "geometry", "policy", "visited", "actions", "point"}
    assert record.spec["trained_by"].startswith("stable-baselines3 ")
    assert networks_from_bytes(record.file("networks.pt")).description["seed"] == 7
    monkeypatch.setattr("paperlib.pave.peer.train_peer", lambda *_: pytest.fail("trained twice"))
    assert [again.name for again in train_peers([run], store)] == [record.name]


def test_a_cell_of_the_peer_is_the_five_published_seeds_at_the_published_budget():
    cell = {"environment": "pendulum", "algorithm": "td3", "method": "pave"}
    runs = recording.matching(recording.campaign_of("peer").runs("peer"), cell)
    assert [(run.seed, run.steps) for run in runs] == [(seed, 100_000) for seed in published_seeds()]
    assert len({RunStore("nowhere").name(run.spec()) for run in runs}) == 5
