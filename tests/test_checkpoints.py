"""Files of trained networks: what was written is read back, and anything else is a ValueError that says so."""

import io

import pytest
import torch
from torch import nn

from paperlib.pave.engine.checkpoints import TrainedNetworks, networks_from_bytes, networks_to_bytes


def networks() -> TrainedNetworks:
    torch.manual_seed(0)
    mlps = [nn.Sequential(nn.Linear(n, 8), nn.SiLU(), nn.Linear(8, 1)) for n in (3, 4, 4)]
    return TrainedNetworks(mlps[0], (mlps[1], mlps[2]), 1, {"seed": 5})


def test_networks_are_read_as_they_were_written():
    written, read = networks(), networks_from_bytes(networks_to_bytes(networks()))
    assert (read.action_dim, read.description) == (1, {"seed": 5})
    states = torch.randn(7, 3)
    assert torch.equal(read.act(states), written.act(states))


def changed(change) -> bytes:
    content = torch.load(io.BytesIO(networks_to_bytes(networks())), weights_only=True)
    buffer = io.BytesIO()
    torch.save(change(content) or content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of trained networks"),
        (networks_to_bytes(networks())[:500], "no file of trained networks"),
        (changed(lambda content: content.update(format=2)), "unknown format 2"),
        (changed(lambda content: [1]), "unknown format 'list'"),
        (changed(lambda content: content.pop("weights") and None), "lacks something.*'weights'"),
        (changed(lambda content: content["weights"].pop("critic_2") and None), "lacks something.*'critic_2'"),
        (changed(lambda content: content["weights"]["actor"].pop("0.bias") is None), r"lacks something.*\n.*0\.bias"),
    ],
)
def test_a_file_that_holds_no_networks_is_refused_with_what_is_wrong(content, message):
    with pytest.raises(ValueError, match=message):
        networks_from_bytes(content)
