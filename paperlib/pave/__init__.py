"""PAVE: critic geometry, the three losses, actor-side baselines, batched TD3 and SAC, evaluation."""

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
from paperlib.pave.losses import PaveLosses, pave_losses
from paperlib.pave.smoothness import amplitude_spectrum, smoothness

__all__ = [
    "IndefiniteHessianError",
    "NoCurvatureError",
    "PaveLosses",
    "PolicyLipschitzBound",
    "action_gradient",
    "action_hessian",
    "amplitude_spectrum",
    "implicit_policy_jacobian",
    "mixed_hessian",
    "pave_losses",
    "policy_lipschitz_bound",
    "smoothness",
]
