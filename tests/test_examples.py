"""The examples run as they stand, and put PAVE's losses where they belong."""

import importlib.util
import re

import pytest
import torch
from test_pipeline import ROOT

from paperlib.pave import pave_losses


@pytest.fixture(scope="module")
def cleanrl():
    spec = importlib.util.spec_from_file_location("cleanrl_td3_pave", ROOT / "examples" / "cleanrl_td3_pave.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ALONE = ["--mpr=0", "--vfc=0", "--curv=0"]
SMOKE = ["--total-timesteps=60", "--learning-starts=40", "--batch-size=16", "--hidden=8", "--evaluation-episodes=1"]


def test_the_cleanrl_example_trains_and_scores_with_pave_and_without(cleanrl, capsys):
    said = {}
    for name, arguments in {"pave": SMOKE, "again": SMOKE, "alone": SMOKE + ALONE}.items():
        cleanrl.main(arguments)
        said[name] = capsys.readouterr().out.splitlines()[-1]
        assert re.fullmatch(r"return -\d+\.\d, smoothness \d\.\d{4} \(lower is smoother\)", said[name])
    assert said["pave"] == said["again"] != said["alone"]


def test_its_losses_are_those_of_a_critic_of_actions_between_minus_one_and_one(cleanrl):
    """Of a space from -1 to 3: derivatives by u are twice those by a, squares and second derivatives four times."""
    torch.manual_seed(0)
    qf1, qf2 = (cleanrl.QNetwork(3, 1, 8) for _ in range(2))
    scale, bias = torch.tensor([2.0]), torch.tensor([1.0])
    buffer = cleanrl.ReplayBuffer(50, 3, 1)
    for _ in range(50):
        obs, next_obs, action = torch.randn(3), torch.randn(3), torch.rand(1) * 4 - 1
        buffer.add(obs=obs, actions=action, next_obs=next_obs, rewards=0, dones=False)
    data = buffer.sample(20)
    for name in ("mpr", "vfc"):
        args = cleanrl.parse_args([*ALONE, f"--{name}", "1"])
        torch.manual_seed(1)
        ours = cleanrl.pave_penalty(qf1, qf2, data, scale, bias, args)
        torch.manual_seed(1)
        noise = args.sigma * torch.randn_like(data.obs)
        in_units = pave_losses(
            *(lambda s, a: (qf1(s, a), qf2(s, a)), data.obs, data.actions, data.next_obs),
            **{"state_noise": noise, "probes": torch.ones_like(data.actions), "delta": 1.0},
        )
        assert ours.item() == pytest.approx(4 * getattr(in_units, name).sum().item(), rel=1e-5)
