"""Ascent by the step-size rules: guarantees are kept, runs are independent, interruptions leave no trace."""

import io

import numpy as np
import pandas as pd
import pytest

from paperlib.lipschitz import GaussianPolicy, MDPConstants, PolynomialFeatures
from paperlib.lipschitz.rules import AGSS, LIPSCHITZ_RULES, MSS_MLC, RULES, LargestGuarantee
from paperlib.lipschitz.simulation.ascent import (
    Ascent,
    Estimate,
    Problem,
    ascend,
    recorded_iterations,
    take_step,
)
from paperlib.repro import sealed_file
from paperlib.repro.sealed_file import SetAsideWarning

POLICY = GaussianPolicy(PolynomialFeatures([(0,), (1,)]), 0.5, (-1,), (1,), -2, 2)
MDP = MDPConstants(transition=0.4, reward=1.0, reward_bound=1.0, discount=0.6)
BEST = np.array([0.3, -0.2])


class Bowl:
    """J = -|theta - BEST|^2 / 2 for every run: a return whose gradient has constants far below the policy's."""

    def estimate(self, theta, iteration):
        return Estimate(BEST - theta, self.score(theta, iteration))

    def score(self, theta, iteration):
        return -0.5 * ((theta - BEST) ** 2).sum(axis=1)


class Interrupted(Bowl):
    def __init__(self, at):
        self.at = at

    def estimate(self, theta, iteration):
        if iteration == self.at:
            raise KeyboardInterrupt
        return super().estimate(theta, iteration)


PROBLEM = Problem(Bowl(), MDP, POLICY)
START = np.array([[0.0, 0.0], [0.5, 0.5], [0.3, -0.2]])


def alone(problem, rule, start, iterations, **arguments):
    return ascend([Ascent(problem, rule, start, iterations, **arguments)])[0]


@pytest.mark.parametrize("rule", RULES)
def test_a_run_improves_by_at_least_what_is_guaranteed(rule):
    result = alone(PROBLEM, rule, START, 200, record_at=range(0, 200, 20))
    assert (result.runs["smallest_surplus"] >= 0).all() and (result.runs["violations"] == 0).all()
    for _, run in result.trace.groupby("run"):
        assert (np.diff(run["score"]) >= 0).all()
    curves = result.curves.pivot(index="iteration", columns="quantity", values="mean")
    assert (curves["realised"] >= curves["guarantee"]).all()


@pytest.mark.parametrize("rule", RULES)
def test_a_run_does_not_depend_on_the_others(rule):
    together = alone(PROBLEM, rule, START, 30, record_at=[0, 29]).runs
    for run, start in enumerate(START):
        single = alone(PROBLEM, rule, start[None], 30, record_at=[0, 29]).runs.drop(columns="run")
        pd.testing.assert_frame_equal(single, together.drop(columns="run").iloc[[run]].reset_index(drop=True))


def test_the_rule_with_the_largest_guarantee_is_never_below_the_two_it_chooses_from():
    gradient = np.random.default_rng(0).standard_normal((50, 2))
    theta = np.random.default_rng(1).standard_normal((50, 2))
    both = np.maximum(*(take_step(PROBLEM, rule, theta, gradient).guarantee for rule in ("mss_mlc", "agss")))
    assert np.array_equal(take_step(PROBLEM, "largest_guarantee", theta, gradient).guarantee, both)


def test_a_rule_is_known_by_its_name_and_says_where_it_is_from():
    assert [name for name, rule in RULES.items() if rule.name != name] == []
    sources = {name: rule.source for name, rule in RULES.items()}
    assert sources["agss"] == "equation (23)" and sources["mss_mlc"].endswith("equation (22)")
    assert all(sources.values())


def test_the_larger_guarantee_is_taken_run_by_run_and_the_first_rule_where_they_are_equal():
    gradient = np.array([[1.0, 0.0], [1.0, 0.0]])
    lipschitz = np.array([[1e-6, 1e-6], [1e6, 1e6]])
    chosen = LargestGuarantee("both", (MSS_MLC, AGSS))(MDP, POLICY, gradient, lipschitz)
    several, one = (rule(MDP, POLICY, gradient, lipschitz) for rule in (MSS_MLC, AGSS))
    assert np.array_equal(chosen.update, [several.update[0], one.update[1]])
    twice = LargestGuarantee("same", (MSS_MLC, MSS_MLC))(MDP, POLICY, gradient, lipschitz)
    assert np.array_equal(twice.step_sizes, several.step_sizes)


def test_lipschitz_rules_stay_where_there_is_no_margin_and_agss_goes_on():
    steep = np.array([[0.0, 9.0], [0.0, 0.1]])
    gradient = np.ones((2, 2))
    for rule in LIPSCHITZ_RULES:
        step = take_step(PROBLEM, rule, steep, gradient)
        assert step.margin[0] < 0 < step.margin[1]
        assert (step.update[0] == 0).all() and (step.update[1] != 0).all()
    for rule in ("agss", "largest_guarantee"):
        assert (take_step(PROBLEM, rule, steep, gradient).update[0] != 0).all()
    runs = alone(PROBLEM, "sss_slc", steep, 3, record_at=[0]).runs
    assert runs["stopped"].tolist() == [0, -1] and runs["audited"].tolist() == [0, 3]


def test_ascent_ends_when_every_run_is_on_target():
    near = lambda theta: np.linalg.norm(theta - BEST, axis=1) < 0.8  # noqa: E731
    runs = alone(PROBLEM, "agss", START + [[1.0, 0.0]], 100_000, record_at=[0], target=near).runs
    assert (runs["reached"] >= 0).all()
    assert (runs["iterations"] == runs["reached"].max()).all()


@pytest.mark.parametrize("at", [3, 10, 11])
def test_an_interrupted_ascent_goes_on_from_its_checkpoint(tmp_path, at):
    arguments = {"record_at": [0, 4, 9, 14], "save_every": 5}
    whole = alone(PROBLEM, "mss_mlc", START, 15, **arguments)
    with pytest.raises(KeyboardInterrupt):
        alone(Problem(Interrupted(at), MDP, POLICY), "mss_mlc", START, 15, work_folder=tmp_path, **arguments)
    continued = alone(PROBLEM, "mss_mlc", START, 15, work_folder=tmp_path, **arguments)
    for one, other in zip(whole, continued, strict=True):
        pd.testing.assert_frame_equal(one, other)


def checkpoint(folder, rule="mss_mlc"):
    """An ascent of 12 iterations that was interrupted after its checkpoint at 10."""
    problem = Problem(Interrupted(12), MDP, POLICY)
    with pytest.raises(KeyboardInterrupt):
        alone(problem, rule, START, 15, work_folder=folder, record_at=[0, 9, 14], save_every=5)
    return folder / "ascent.npz"


def begin(folder, rule="mss_mlc"):
    return Ascent(PROBLEM, rule, START, 15, record_at=[0, 9, 14], work_folder=folder, save_every=5)


def test_a_damaged_checkpoint_is_set_aside_by_name_and_the_ascent_begins_anew(tmp_path):
    whole = alone(PROBLEM, "mss_mlc", START, 15, record_at=[0, 9, 14])
    file = checkpoint(tmp_path)
    assert begin(tmp_path).iteration == 10
    intact = file.read_bytes()
    for length in (0, 10, len(intact) // 2, len(intact) - 1):
        file.write_bytes(intact[:length])
        with pytest.warns(SetAsideWarning, match="ascent.npz"):
            assert begin(tmp_path).iteration == 0
    for byte in range(0, len(intact), 97):
        file.write_bytes(intact[:byte] + bytes([intact[byte] ^ 4]) + intact[byte + 1 :])
        with pytest.warns(SetAsideWarning, match="ascent.npz"):
            ascent = begin(tmp_path)
        assert ascent.iteration == 0
    for one, other in zip(whole, ascend([ascent])[0], strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_checkpoint_of_another_rule_or_without_an_array_is_set_aside(tmp_path):
    checkpoint(tmp_path, "agss")
    with pytest.warns(SetAsideWarning, match='rule was "agss", is "mss_mlc"'):
        assert begin(tmp_path).iteration == 0
    about = begin(tmp_path)._about
    sealed_file.write(tmp_path / "ascent.npz", about, lambda file: file.write(npz_without_theta()))
    with pytest.warns(SetAsideWarning, match="ascent.npz cannot be read .KeyError: 'theta'"):
        assert begin(tmp_path).iteration == 0


def npz_without_theta() -> bytes:
    content = io.BytesIO()
    np.savez(content, iteration=10)
    return content.getvalue()


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="'newton'.*sss_slc"):
        Ascent(PROBLEM, "newton", START, 1, record_at=[0])


def test_recorded_iterations_run_from_the_first_to_the_last_and_no_two_late_ones_are_close():
    assert recorded_iterations(100, 5).tolist() == [0, 1, 2, 5, 10, 20, 25, 50, 75, 99]
    assert recorded_iterations(3, 5).tolist() == [0, 1, 2]
    late = recorded_iterations(10_000, 26)
    late = late[late >= 400]
    assert np.diff(late).min() == 399 and len(late) == 25
    assert {1, 2, 5, 10, 20, 400, 800} <= set(recorded_iterations(1000, 26)) & set(recorded_iterations(10_000, 26))


def test_ascents_side_by_side_are_each_as_they_are_alone():
    rules = ("sss_slc", "agss")
    together = ascend([Ascent(PROBLEM, rule, START, 20, record_at=[0, 19]) for rule in rules])
    for rule, result in zip(rules, together, strict=True):
        for one, other in zip(result, alone(PROBLEM, rule, START, 20, record_at=[0, 19]), strict=True):
            pd.testing.assert_frame_equal(one, other)


def test_tenths_and_curves_are_means_of_what_happened():
    result = alone(PROBLEM, "agss", START, 20, record_at=range(20))
    scores = result.trace.pivot(index="iteration", columns="run", values="score").to_numpy()
    tenths = result.tenths.pivot(index="tenth", columns="run", values="score").to_numpy()
    assert np.allclose(tenths, scores.reshape(10, 2, 3).mean(axis=1), rtol=1e-5)
    assert np.allclose(result.runs["mean_score"], scores.mean(axis=0), rtol=1e-5)
    of_scores = result.curves[result.curves["quantity"] == "score"]
    assert np.allclose(of_scores["mean"], scores.mean(axis=1), rtol=1e-5)
    assert np.allclose(of_scores["standard_deviation"], scores.std(axis=1, ddof=1), rtol=1e-5)
    assert (of_scores["runs"] == 3).all()


def test_an_update_is_first_in_its_first_component_only_where_gradient_and_update_are():
    result = alone(PROBLEM, "sss_slc", START, 1, record_at=[0])
    assert result.tenths["first_component"].tolist() == [1.0, 0.0, 1.0]  # gradients (.3, -.2), (-.2, -.7), 0


def test_where_not_every_update_is_audited_the_same_is_done_and_fewer_are_counted():
    every, some = (alone(PROBLEM, "agss", START, 40, record_at=[0, 5, 39], audit_every=n) for n in (1, 10))
    for table in ("trace", "curves"):
        pd.testing.assert_frame_equal(getattr(every, table), getattr(some, table))
    assert every.runs["audited"].tolist() == [40, 40, 0]  # the third run starts at the optimum and does not move
    assert some.runs["audited"].tolist() == [6, 6, 0]  # 0, 10, 20, 30 and the recorded 5 and 39
    violations = some.tenths.pivot(index="tenth", columns="run", values="violations")
    assert violations[2].isna().all() and violations.loc[3].isna().all() and (violations.loc[0, [0, 1]] == 0).all()
