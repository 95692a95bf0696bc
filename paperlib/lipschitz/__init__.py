"""Policy gradients in Lipschitz MDPs: constants, bounds and step sizes with guaranteed improvement."""

from paperlib.lipschitz.closed_loop import ClosedLoopConstants, closed_loop_on_line
from paperlib.lipschitz.constants import (
    MDPConstants,
    NotAContraction,
    PolicyConstants,
    contraction_margin,
    gradient_lipschitz,
    gradient_norm_lipschitz,
)
from paperlib.lipschitz.kantorovich import kantorovich, kantorovich_on_line
from paperlib.lipschitz.policies import GaussianPolicy, PolynomialFeatures, RadialFeatures
from paperlib.lipschitz.step_sizes import (
    StepSize,
    UnboundedImprovement,
    agss,
    improvement_bound,
    mss_mlc,
    sss_mlc,
    sss_slc,
)

__all__ = [
    "ClosedLoopConstants",
    "GaussianPolicy",
    "MDPConstants",
    "NotAContraction",
    "PolicyConstants",
    "PolynomialFeatures",
    "RadialFeatures",
    "StepSize",
    "UnboundedImprovement",
    "agss",
    "closed_loop_on_line",
    "contraction_margin",
    "gradient_lipschitz",
    "gradient_norm_lipschitz",
    "improvement_bound",
    "kantorovich",
    "kantorovich_on_line",
    "mss_mlc",
    "sss_mlc",
    "sss_slc",
]
