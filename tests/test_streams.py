"""Random streams: a run's numbers depend on its seed and the purpose, and on nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.pave.engine.streams import RandomStreams, derive_seed


def streams(*seeds, dtype=torch.float64, block=8):
    return RandomStreams(seeds, device=torch.device("cpu"), dtype=dtype, block=block)


def draws(source, kind, purpose, count, *shape):
    return torch.stack([getattr(source, kind)(purpose, *shape).clone() for _ in range(count)])


@pytest.mark.parametrize("kind", ("normal", "uniform", "signs"))
def test_a_runs_draws_do_not_depend_on_its_neighbours(kind):
    together = draws(streams(3, 1, 2), kind, "noise", 20, 5, 2)
    assert together.shape == (20, 3, 5, 2)
    for row, seed in enumerate((3, 1, 2)):
        assert torch.equal(together[:, row], draws(streams(seed), kind, "noise", 20, 5, 2)[:, 0])
    assert not torch.equal(together[:, 0], together[:, 1])


def test_a_purposes_draws_do_not_depend_on_other_purposes():
    alone = draws(streams(1, 2), "normal", "exploration", 20, 3)
    mixed, seen = streams(1, 2), []
    for step in range(20):
        if step % 3 == 0:
            mixed.uniform("minibatch", 4)
            mixed.signs("probes", 2)
        seen.append(mixed.normal("exploration", 3).clone())
    assert torch.equal(torch.stack(seen), alone)
    assert not torch.equal(alone, draws(streams(1, 2), "normal", "next actions", 20, 3))


def test_a_purpose_cannot_change_its_shape_or_type():
    source = streams(1, dtype=torch.float32)
    source.normal("noise", 3)
    with pytest.raises(ValueError, match=r"stream 'noise' draws \(3,\) in torch.float32, asked for \(2,\)"):
        source.normal("noise", 2)
    with pytest.raises(ValueError, match="asked for .* in torch.float64"):
        source.uniform("noise", 3)


def test_no_draw_is_handed_out_twice():
    values = draws(streams(1, 2, block=4), "uniform", "minibatch", 30, 5).flatten()
    assert values.unique().numel() == values.numel()


def test_discarding_leaves_a_state_that_continues_the_same_sequence():
    first = streams(1, 2)
    draws(first, "normal", "noise", 11, 3)
    draws(first, "signs", "probes", 3, 2)
    first.discard()
    second = streams(1, 2)
    draws(second, "normal", "noise", 1, 3)
    second.load_state_dict(first.state_dict())
    for kind, purpose, size in (("normal", "noise", 3), ("signs", "probes", 2), ("uniform", "never used before", 4)):
        assert torch.equal(draws(first, kind, purpose, 20, size), draws(second, kind, purpose, 20, size))


def test_a_state_that_would_lose_draws_cannot_be_saved():
    source = streams(1)
    source.normal("noise", 2)
    with pytest.raises(RuntimeError, match="call discard"):
        source.state_dict()


def test_a_saved_state_is_not_moved_by_later_draws():
    source = streams(1)
    source.normal("noise", 2)
    source.discard()
    saved = source.state_dict()
    expected = draws(source, "normal", "noise", 5, 2)
    source.load_state_dict(saved)
    assert torch.equal(draws(source, "normal", "noise", 5, 2), expected)


def test_signs_are_plus_or_minus_one_equally_often():
    values = draws(streams(1, 2, dtype=torch.float32), "signs", "probes", 500, 10, 2)
    assert values.dtype == torch.float32
    assert set(values.unique().tolist()) == {-1.0, 1.0}
    for run in range(2):  # 10,000 fair signs have a mean of standard deviation 0.01
        assert abs(values[:, run].mean().item()) < 0.05
        products = values[:, run, :, 0] * values[:, run, :, 1]
        assert abs(products.mean().item()) < 0.06


def test_uniform_draws_keep_float64_digits_whatever_the_networks_use():
    values = draws(streams(1, dtype=torch.float32), "uniform", "minibatch", 20, 100)
    assert values.dtype == torch.float64
    assert values.min() >= 0 and values.max() < 1
    assert (values != values.float().double()).any()


def test_normal_draws_have_mean_zero_and_variance_one():
    values = draws(streams(1), "normal", "noise", 200, 50)
    assert abs(values.mean().item()) < 0.05
    assert abs(values.var().item() - 1) < 0.07


@settings(max_examples=200, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**63), purpose=st.text(max_size=20), index=st.integers(0, 2**31))
def test_derived_seeds_are_in_the_range_every_environment_accepts(seed, purpose, index):
    value = derive_seed(seed, purpose, index)
    assert type(value) is int
    assert 0 <= value < 2**31


def test_derived_seeds_differ_by_seed_purpose_and_index():
    values = [derive_seed(s, p, i) for s in range(10) for p in ("environment", "evaluation") for i in range(10)]
    assert len(set(values)) == len(values)
    assert derive_seed(178132, "environment") == derive_seed(178132, "environment", 0)
