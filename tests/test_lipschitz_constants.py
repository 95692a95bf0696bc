"""The chain of constants: what it says, how it grows, and what happens where there is none."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperlib.lipschitz import MDPConstants, NotAContraction, PolicyConstants
from paperlib.lipschitz import constants as chain

FUNCTIONS = [
    chain.action_value_lipschitz,
    chain.state_value_lipschitz,
    chain.future_state_lipschitz,
    chain.joint_lipschitz,
    chain.return_lipschitz,
    chain.eta_lipschitz,
    chain.state_value_parameter_lipschitz,
    chain.action_value_parameter_lipschitz,
    chain.eta_parameter_lipschitz,
    chain.gradient_lipschitz,
    chain.gradient_norm_lipschitz,
]
MDP = MDPConstants(transition=0.5, reward=2.0, reward_bound=3.0, discount=0.8)
POLICY = PolicyConstants(0.25, 1.5, [1.0, 2.0], [0.5, 0.7], [0.1, 0.3])
# margin = 1 - 0.8 * 0.5 * 1.25 = 0.5
BY_HAND = {
    chain.action_value_lipschitz: 2 / 0.5,
    chain.state_value_lipschitz: 4 * 1.25,
    chain.future_state_lipschitz: 0.4 * 1.5 / 0.5,
    chain.joint_lipschitz: 1.5 / 0.5,
    chain.return_lipschitz: 2 * 1.5 / (0.2 * 0.5),
    chain.eta_lipschitz: [15 * 0.5 + 1 * 4, 15 * 0.7 + 2 * 4],
    chain.state_value_parameter_lipschitz: 30,
    chain.action_value_parameter_lipschitz: 24,
    chain.eta_parameter_lipschitz: [15 * 0.1 + 24, 15 * 0.3 + 48],
    chain.gradient_lipschitz: [5 * (11.5 * 3 + 25.5), 5 * (18.5 * 3 + 52.5)],
    chain.gradient_norm_lipschitz: np.hypot(5 * (11.5 * 3 + 25.5), 5 * (18.5 * 3 + 52.5)),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_constants_worked_out_by_hand(function):
    assert np.allclose(function(MDP, POLICY), BY_HAND[function])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_batch_of_policies_equals_a_loop(function):
    generator = np.random.default_rng(0)
    state, parameters = generator.random((2, 4))
    components = generator.random((3, 4, 2))
    batch = function(MDP, PolicyConstants(state, parameters, *components))
    for run in range(4):
        single = function(MDP, PolicyConstants(state[run], parameters[run], *components[:, run]))
        assert np.allclose(batch[run], single)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_without_a_positive_margin_there_is_no_constant(function):
    with pytest.raises(NotAContraction, match="by 0.6:"):
        function(dataclasses.replace(MDP, transition=1.6), POLICY)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.3, 0.99), st.floats(0.5, 3.0), st.floats(0.0, 5.0))
def test_following_the_advice_gives_a_constant(discount, transition, state):
    mdp = MDPConstants(transition, 1.0, 1.0, discount)
    policy = PolicyConstants(state, 1.0, [1.0], [1.0], [1.0])
    if chain.contraction_margin(mdp, policy) > 0:
        return
    with pytest.raises(NotAContraction) as caught:
        chain.gradient_lipschitz(mdp, policy)
    below = dict(re.findall(r"(L_pi|L_P|gamma) below ([0-9.e+-]+)", str(caught.value)))
    assert chain.action_value_lipschitz(dataclasses.replace(mdp, transition=0.99 * float(below["L_P"])), policy) > 0
    assert chain.action_value_lipschitz(dataclasses.replace(mdp, discount=0.99 * float(below["gamma"])), policy) > 0
    if "L_pi" in below and float(below["L_pi"]) > 0:
        smoother = dataclasses.replace(policy, state=0.99 * float(below["L_pi"]))
        assert chain.action_value_lipschitz(mdp, smoother) > 0


@pytest.mark.parametrize("changes", [{"transition": -1.0}, {"reward": np.inf}, {"discount": 1.0}, {"discount": -0.1}])
def test_impossible_constants_of_the_mdp_are_errors(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        dataclasses.replace(MDP, **changes)


@pytest.mark.parametrize("name", MDP.__dataclass_fields__)
@pytest.mark.parametrize("value", ["0.3", [0.3, 0.4], np.nan, -0.1])
def test_a_constant_of_the_mdp_is_one_number(name, value):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(MDP, **{name: value})


@pytest.mark.parametrize("name", ["state", "parameters", "score_bound", "score_state_action", "score_parameters"])
def test_impossible_constants_of_the_policy_are_errors(name):
    with pytest.raises(ValueError, match=name):
        dataclasses.replace(POLICY, **{name: [np.nan, 1.0]})


@pytest.mark.parametrize("name", POLICY.__dataclass_fields__)
def test_a_constant_of_the_policy_is_no_string(name):
    with pytest.raises(ValueError, match=f"{name} must be a number"):
        dataclasses.replace(POLICY, **{name: ["0.3", "0.4"]})


@pytest.mark.parametrize("value", [[1.0, 2.0, 3.0], [1.0], 1.0])
def test_constants_of_the_score_have_one_component_for_each_parameter(value):
    with pytest.raises(ValueError, match="one component for each parameter: score_bound has 2"):
        dataclasses.replace(POLICY, score_parameters=value)


def test_batches_of_policies_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="batches of policies do not fit together"):
        dataclasses.replace(POLICY, state=[0.1, 0.2], parameters=[0.1, 0.2, 0.3])
    assert dataclasses.replace(POLICY, state=[0.1, 0.2]).state.shape == (2,)


@pytest.mark.parametrize(
    "function", [chain.contraction_margin, chain.gradient_lipschitz, chain.gradient_norm_lipschitz]
)
def test_policy_before_mdp_is_told_the_order(function):
    with pytest.raises(TypeError, match="MDP's constants come first .* not a PolicyConstants and a MDPConstants"):
        function(POLICY, MDP)
