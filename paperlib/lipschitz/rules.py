"""The step-size rules as objects with one call: what an ascent asks of a rule, whatever the rule needs to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from paperlib.lipschitz.constants import MDPConstants
from paperlib.lipschitz.policies import GaussianPolicy
from paperlib.lipschitz.step_sizes import StepSize, agss, mss_mlc, sss_mlc, sss_slc


class Rule(Protocol):
    """A rule has a name, says where it is from, and decides the steps of R runs in one call."""

    @property
    def name(self) -> str:
        """As experiments spell it."""

    @property
    def source(self) -> str:
        """Section or equation of Pirotta et al. (2015)."""

    @property
    def needs_a_margin(self) -> bool:
        """Whether it has nothing to say where the contraction margin is not positive."""

    def __call__(
        self, mdp: MDPConstants, policy: GaussianPolicy, gradient: np.ndarray, lipschitz: np.ndarray
    ) -> StepSize:
        """The steps at gradients (R, d) with the constants of their components (R, d), NaN where there are none."""


@dataclass(frozen=True)
class LipschitzRule:
    """A rule that reads the gradient and its Lipschitz constants; runs without constants stay where they are."""

    name: str
    source: str
    decide: Callable[..., StepSize]
    needs_a_margin = True

    def __call__(
        self, mdp: MDPConstants, policy: GaussianPolicy, gradient: np.ndarray, lipschitz: np.ndarray
    ) -> StepSize:
        update, sizes, guarantee = np.zeros_like(gradient), np.zeros_like(gradient), np.zeros(len(gradient))
        can = np.isfinite(lipschitz).all(axis=1)
        if can.any():
            step = self.decide(gradient[can], lipschitz[can])
            update[can], sizes[can], guarantee[can] = step.update, step.step_sizes, step.guaranteed_improvement
        return StepSize(update, sizes, guarantee)


@dataclass(frozen=True)
class GaussianRule:
    """AGSS, which reads the gradient, the MDP's bounds and the Gaussian policy, and no Lipschitz constant."""

    name: str = "agss"
    source: str = "equation (23)"
    needs_a_margin = False

    def __call__(
        self, mdp: MDPConstants, policy: GaussianPolicy, gradient: np.ndarray, lipschitz: np.ndarray
    ) -> StepSize:
        if policy.action_dimension > 1:
            raise ValueError(f"equation (23) is for one action, the policy has {policy.action_dimension}")
        return agss(
            gradient,
            discount=mdp.discount,
            standard_deviation=policy.standard_deviation,
            action_volume=np.subtract(policy.action_high, policy.action_low).item(),
            reward_bound=mdp.reward_bound,
            feature_bound=policy.largest_feature,
        )


@dataclass(frozen=True)
class LargestGuarantee:
    """At each iteration and in each run the step of that rule which guarantees most (as Section 7 proposes)."""

    name: str
    rules: Sequence[Rule]
    source: str = "Section 7 (ours)"
    needs_a_margin = False

    def __call__(
        self, mdp: MDPConstants, policy: GaussianPolicy, gradient: np.ndarray, lipschitz: np.ndarray
    ) -> StepSize:
        steps = [rule(mdp, policy, gradient, lipschitz) for rule in self.rules]
        best = np.argmax([step.guaranteed_improvement for step in steps], axis=0)
        runs = np.arange(len(gradient))
        fields = ("update", "step_sizes", "guaranteed_improvement")
        return StepSize(*(np.stack([getattr(step, name) for step in steps])[best, runs] for name in fields))


SSS_SLC = LipschitzRule("sss_slc", "Section 5.1", sss_slc)
SSS_MLC = LipschitzRule("sss_mlc", "Section 5.2", sss_mlc)
MSS_MLC = LipschitzRule("mss_mlc", "Section 5.3, equation (22)", mss_mlc)
AGSS = GaussianRule()

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (SSS_SLC, SSS_MLC, MSS_MLC, AGSS, LargestGuarantee("largest_guarantee", (MSS_MLC, AGSS)))
}
"""Every rule by its name."""

LIPSCHITZ_RULES = tuple(name for name, rule in RULES.items() if rule.needs_a_margin)
