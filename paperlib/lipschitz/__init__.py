"""Policy gradients in Lipschitz MDPs: constants, bounds and step sizes with guaranteed improvement.

In the order of use: constants of an MDP and a policy, the gradient's constants from these, a rule's step for a gradient
or an estimate of one, and ascent with it. README has an example of the whole.
"""

from typing import TYPE_CHECKING

from paperlib.lipschitz.closed_loop import ClosedLoopConstants, closed_loop_on_line
from paperlib.lipschitz.constants import (
    MDPConstants,
    NotAContraction,
    PolicyConstants,
    contraction_margin,
    gradient_lipschitz,
    gradient_norm_lipschitz,
)
from paperlib.lipschitz.estimated_gradients import (
    bernstein_errors,
    bernstein_samples,
    chebyshev_errors,
    chebyshev_radius,
    chebyshev_samples,
    horizon_error,
    largest_episode_gradient,
    step_in_ball,
    step_in_box,
)
from paperlib.lipschitz.gradient_estimates import Estimate, gpomdp
from paperlib.lipschitz.kantorovich import kantorovich, kantorovich_on_line
from paperlib.lipschitz.policies import GaussianPolicy, PolynomialFeatures, RadialFeatures
from paperlib.lipschitz.rules import RULES
from paperlib.lipschitz.step_sizes import (
    StepSize,
    UnboundedImprovement,
    agss,
    improvement_bound,
    mss_mlc,
    sss_mlc,
    sss_slc,
)

if TYPE_CHECKING:
    from paperlib.lipschitz.simulation.ascent import Ascent, Problem, ascend, recorded_iterations, take_step

__all__ = [
    "RULES",
    "Ascent",
    "ClosedLoopConstants",
    "Estimate",
    "GaussianPolicy",
    "MDPConstants",
    "NotAContraction",
    "PolicyConstants",
    "PolynomialFeatures",
    "Problem",
    "RadialFeatures",
    "StepSize",
    "UnboundedImprovement",
    "agss",
    "ascend",
    "bernstein_errors",
    "bernstein_samples",
    "chebyshev_errors",
    "chebyshev_radius",
    "chebyshev_samples",
    "closed_loop_on_line",
    "contraction_margin",
    "gpomdp",
    "gradient_lipschitz",
    "gradient_norm_lipschitz",
    "horizon_error",
    "improvement_bound",
    "kantorovich",
    "kantorovich_on_line",
    "largest_episode_gradient",
    "mss_mlc",
    "recorded_iterations",
    "sss_mlc",
    "sss_slc",
    "step_in_ball",
    "step_in_box",
    "take_step",
]

_OF_ASCENT = ("Ascent", "Problem", "ascend", "recorded_iterations", "take_step")


def __getattr__(name: str):
    """What ascent brings, when it is first asked for: its tables take pandas, which the formulas do without."""
    if name not in _OF_ASCENT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from paperlib.lipschitz.simulation import ascent

    return getattr(ascent, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
