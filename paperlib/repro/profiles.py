"""Profiles: how much a notebook computes."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Profile:
    """A named budget; experiment definitions and notebooks say what it means for each of them."""

    name: str
    meaning: str


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", "smallest budgets, to test that every cell runs; figures show no result"),
        Profile("quick", "theory at full accuracy; training at a reduced budget, for a laptop"),
        Profile("paper", "the published budgets; runs already in the store are not repeated"),
    )
}
DEFAULT_PROFILE = "quick"


def select_profile(requested: str) -> Profile:
    """The profile to use: PAPERLIB_PROFILE if set, else `requested`; ValueError for a name that does not exist."""
    source = "PAPERLIB_PROFILE" if os.environ.get("PAPERLIB_PROFILE") else "profile"
    name = os.environ.get("PAPERLIB_PROFILE") or requested
    if name not in PROFILES:
        raise ValueError(f"{source} is {name!r}; choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
