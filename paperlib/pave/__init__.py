"""PAVE: critic geometry, the greedy policy, the three losses, actor-side baselines, batched TD3 and SAC, evaluation."""

from paperlib.pave.critic_geometry import (
    IndefiniteHessianError,
    NoCurvatureError,
    PolicyLipschitzBound,
    action_gradient,
    action_hessian,
    implicit_policy_jacobian,
    mixed_hessian,
    policy_lipschitz_bound,
)
from paperlib.pave.greedy_policy import (
    GreedyActions,
    NoMaximumError,
    greedy_actions,
    greedy_jacobian,
    refine_maximisers,
)
from paperlib.pave.losses import PaveLosses, UnlikelyInputWarning, pave_losses
from paperlib.pave.smoothness import amplitude_spectrum, smoothness

__all__ = [
    "GreedyActions",
    "IndefiniteHessianError",
    "NoCurvatureError",
    "NoMaximumError",
    "PaveLosses",
    "PolicyLipschitzBound",
    "UnlikelyInputWarning",
    "action_gradient",
    "action_hessian",
    "amplitude_spectrum",
    "greedy_actions",
    "greedy_jacobian",
    "implicit_policy_jacobian",
    "mixed_hessian",
    "pave_losses",
    "policy_lipschitz_bound",
    "refine_maximisers",
    "smoothness",
]
