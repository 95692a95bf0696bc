"""What figures and tables call methods and environments, and the colour that a method has everywhere."""

from __future__ import annotations

from paperlib.pave.engine.settings import METHODS, environments
from paperlib.repro.figures import colours

_CRITIC_SIDE_NAMES = {"sn_critic": "SN-Critic", "gp_critic": "GP-Critic", "pave_sphere": "PAVE, sphere (ours)"}

METHOD_COLOURS = colours([*METHODS, *_CRITIC_SIDE_NAMES])
"""By method as runs spell it; variants of these have none."""


def method_name(method: str) -> str:
    """A method as printed: the published ones in capitals ("Base" aside), variants in words."""
    if method in METHODS:
        return "Base" if method == "base" else method.upper()
    words = method.replace("_times_", " x ").replace("pave", "PAVE").replace("_", " ")
    return _CRITIC_SIDE_NAMES.get(method, words)


def environment_name(environment: str) -> str:
    """An environment as printed: its Gymnasium id without the version."""
    return environments()[environment]["id"].partition("-")[0]
