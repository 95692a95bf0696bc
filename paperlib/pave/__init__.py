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
from paperlib.pave.smoothness import (
    AveragedActions,
    action_difference,
    amplitude_spectrum,
    high_band_power,
    smoothness,
    spectral_arc_length,
)

__all__ = [
    "AveragedActions",
    "GreedyActions",
    "IndefiniteHessianError",
    "NoCurvatureError",
    "NoMaximumError",
    "PaveLosses",
    "PolicyLipschitzBound",
    "UnlikelyInputWarning",
    "action_difference",
    "action_gradient",
    "action_hessian",
    "amplitude_spectrum",
    "greedy_actions",
    "greedy_jacobian",
    "high_band_power",
    "implicit_policy_jacobian",
    "mixed_hessian",
    "pave_losses",
    "policy_lipschitz_bound",
    "refine_maximisers",
    "smoothness",
    "spectral_arc_length",
]
