"""The replay buffer against a plain list of transitions."""

import pytest
import torch

from paperlib.pave.engine.replay import ReplayBuffer

RUNS, CAPACITY = 2, 6


def new_buffer(capacity=CAPACITY):
    return ReplayBuffer(RUNS, capacity, 2, 1, dtype=torch.float64)


def fill(buffer, steps, ends=(), terminals=()):
    """Step t of run r starts in state t + 100 r, and arrives in state t + 100 r + 0.5."""
    runs = 100 * torch.arange(RUNS, dtype=torch.float64)
    for t in range(steps):
        states = (runs + t)[:, None].expand(RUNS, 2)
        flags = [torch.full((RUNS,), float(t in group)) for group in (terminals, ends)]
        buffer.add(states, -states[:, :1] / 1000, runs + 10 * t, states + 0.5, *flags)
    return buffer


def every_row(buffer):
    """Each stored row once, in ring order."""
    size = len(buffer)
    uniforms = ((torch.arange(size) + 0.5) / size).double().expand(RUNS, size)
    return buffer.sample(uniforms, previous=True)


def test_every_column_comes_back_as_stored():
    batch = every_row(fill(new_buffer(), 4, ends=(1, 2), terminals=(2,)))
    times = torch.arange(4.0, dtype=torch.float64)
    for run in range(RUNS):
        expected = times + 100 * run
        assert torch.equal(batch.states[run], expected[:, None].expand(4, 2))
        assert torch.equal(batch.next_states[run], expected[:, None].expand(4, 2) + 0.5)
        assert torch.equal(batch.actions[run, :, 0], -expected / 1000)
        assert torch.equal(batch.rewards[run], 100 * run + 10 * times)


def test_terminated_steps_end_the_return_and_truncated_ones_are_bootstrapped():
    batch = every_row(fill(new_buffer(), 5, ends=(1, 3), terminals=(3,)))  # step 1 is cut by the time limit
    assert batch.continues.tolist() == RUNS * [[1, 1, 1, 0, 1]]


def test_a_step_that_terminates_and_is_truncated_counts_as_terminated():
    buffer = new_buffer()
    one = torch.ones(RUNS)
    buffer.add(torch.zeros(RUNS, 2), torch.zeros(RUNS, 1), one, torch.zeros(RUNS, 2), one, one)
    assert every_row(buffer).continues.tolist() == RUNS * [[0]]


def test_runs_may_end_their_episodes_at_different_steps():
    buffer = new_buffer()
    zeros, nothing = torch.zeros(RUNS, 2), torch.zeros(RUNS)
    buffer.add(zeros, zeros[:, :1], nothing, zeros, nothing, torch.tensor([1.0, 0.0]))
    buffer.add(zeros, zeros[:, :1], nothing, zeros, nothing, nothing)
    assert every_row(buffer).has_previous.tolist() == [[0, 0], [0, 1]]


def test_the_oldest_rows_are_overwritten_first():
    batch = every_row(fill(new_buffer(), CAPACITY + 2))
    assert batch.states[0, :, 0].tolist() == [6, 7, 2, 3, 4, 5]


def test_previous_states_stay_within_their_episode():
    batch = every_row(fill(new_buffer(), 5, ends=(1,)))
    assert batch.has_previous.tolist() == RUNS * [[0, 1, 0, 1, 1]]
    known = batch.has_previous.bool()
    assert torch.equal(batch.previous_states[known], batch.states[known] - 1)


@pytest.mark.parametrize("steps", range(1, 4 * CAPACITY))
def test_previous_states_survive_the_wrap_around_except_the_overwritten_one(steps):
    ends = range(0, 4 * CAPACITY, 4)  # episodes of four steps after the first, a boundary in every part of the ring
    batch = every_row(fill(new_buffer(), steps, ends=ends))
    oldest = max(0, steps - CAPACITY)
    for run in range(RUNS):
        times = batch.states[run, :, 0] - 100 * run
        opens = torch.tensor([t == 0 or (t - 1) in ends or t == oldest for t in times.tolist()])
        assert torch.equal(batch.has_previous[run] == 0, opens)
        assert torch.equal(batch.previous_states[run, ~opens], batch.states[run, ~opens] - 1)


def test_a_minibatch_without_previous_states_has_none():
    batch = fill(new_buffer(), 3).sample(torch.zeros(RUNS, 4, dtype=torch.float64))
    assert batch.previous_states is None and batch.has_previous is None


def test_sampling_picks_every_stored_row_equally_often_and_no_other():
    draws = torch.rand(RUNS, 50_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states = fill(new_buffer(capacity=50), 5).sample(draws).states[..., 0]
    for run in range(RUNS):
        values, counts = states[run].unique(return_counts=True)
        assert values.tolist() == [100 * run + t for t in range(5)]
        assert (counts - 10_000).abs().max() < 500  # five standard deviations


@pytest.mark.parametrize("stored", (1, 3, 7, 1_000_000))
def test_the_largest_draw_below_one_picks_the_last_row(stored):
    buffer = ReplayBuffer(1, stored, 1, 1)
    buffer.stored = stored
    buffer.rows[:, -1] = 1.0
    largest = torch.tensor([[1.0]], dtype=torch.float64).nextafter(torch.tensor(0.0, dtype=torch.float64))
    assert buffer.sample(largest).states.item() == 1.0


@pytest.mark.parametrize("mid_episode", (True, False))
@pytest.mark.parametrize("steps", (3, CAPACITY, CAPACITY + 4))
def test_a_restored_buffer_goes_on_like_the_original(steps, mid_episode):
    original = fill(new_buffer(), steps, ends=() if mid_episode else (steps - 1,))
    restored = new_buffer()
    state = original.state_dict()
    restored.load_state_dict(state)
    for buffer in (original, restored):
        fill(buffer, 2)
    assert len(original) == len(restored) == min(steps + 2, CAPACITY)
    for ours, theirs in zip(every_row(original), every_row(restored), strict=True):
        assert torch.equal(ours, theirs)
    later = new_buffer()
    later.load_state_dict(state)  # saved rows are a copy: what was stored since has not reached them
    assert len(later) == min(steps, CAPACITY)
    assert torch.equal(every_row(later).states, every_row(fill(new_buffer(), steps)).states)
