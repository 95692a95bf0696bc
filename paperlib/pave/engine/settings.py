"""Settings of the published PAVE runs, from data/published/pave_hyperparameters.yaml (paper, Tables 7-8)."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from typing import Any

import yaml

from paperlib.pave.engine.actor_terms import TERMS
from paperlib.repro import paths

ALGORITHMS = ("td3", "sac")
METHODS = ("base", "caps", "grad", "asap", "pave")
PROBES = ("rademacher", "sphere")
PRECISIONS = ("float32", "mixed")


@dataclasses.dataclass(frozen=True)
class AlgorithmSettings:
    """TD3's or SAC's settings. Fields of the other algorithm are None. Times and amounts are those of one run."""

    algorithm: str  # "td3" or "sac"
    hidden: tuple[int, ...]  # widths of the hidden layers, of actor and critics alike
    learning_rate: float  # Adam's, of actor and critics alike
    gamma: float  # discount per environment step
    tau: float  # share by which target networks move to their networks at each of their updates
    batch_size: int  # transitions in a minibatch
    buffer_size: int  # transitions that the replay buffer holds, the oldest overwritten first
    learning_starts: int  # environment steps with uniformly random actions, and before the first update
    train_freq: int  # environment steps between rounds of updates
    gradient_steps: int  # updates in a round
    policy_delay: int | None = None  # TD3: updates of the critics for one of the actor and the targets
    target_policy_noise: float | None = None  # TD3: deviation of the noise on the target's action, in scaled units
    target_noise_clip: float | None = None  # TD3: largest size of that noise
    exploration_noise_std: float | None = None  # TD3: deviation of the noise on actions taken, in scaled units
    entropy_coefficient: float | None = None  # SAC: alpha, fixed
    probes: str = "rademacher"  # of Curv, as published; or "sphere", uniform with squared length d_a (ours)
    spectral_critic: bool = False  # SN-Critic: every weight of the critics keeps a largest singular value of one
    precision: str = "float32"  # of the critics' matrix products; "mixed": see `networks.row_product`

    def __post_init__(self):
        _check("kind of probes", self.probes, PROBES)
        _check("precision", self.precision, PRECISIONS)
        object.__setattr__(self, "hidden", tuple(self.hidden))  # YAML gives lists, which cannot be compared as keys

    def named(self) -> dict[str, Any]:
        """What tells these settings from others, for a run's name: all that has no default or differs from it.

        So a setting that is added with a default renames no run. A default that was ever used stays as it is: other
        values get another name, another default would get the old one's.
        """
        fields = dataclasses.fields(self)
        return {f.name: value for f in fields if (value := getattr(self, f.name)) != f.default}


@dataclasses.dataclass(frozen=True)
class Coefficients:
    """What a run adds to plain TD3 or SAC. All zero: Base. Terms may be combined (CAPS + PAVE, the 2^3 ablation)."""

    mpr: float = 0.0  # lambda_1
    vfc: float = 0.0  # lambda_2
    curv: float = 0.0  # lambda_3
    sigma: float = 0.01  # state noise of MPR
    delta: float = 1.0  # curvature floor of Curv
    caps_temporal: float = 0.0
    caps_spatial: float = 0.0
    caps_sigma: float = 0.2
    grad_temporal: float = 0.0  # GRAD's term, which ASAP uses too
    asap_spatial: float = 0.0
    asap_predictor: float = 0.0
    asap_target_tau: float = 0.01  # share by which ASAP's target predictor moves to its predictor at each update
    action_gradient: float = 0.0  # GP-Critic: lambda ||grad_a Q||^2
    own: tuple[tuple[str, float], ...] = ()  # weights of terms that were registered; see `with_values`

    def value(self, name: str) -> float:
        """A coefficient by name; 0 for the weight of a registered term that is not given."""
        return dict(self.own).get(name, 0.0) if name in own_weights() else getattr(self, name)

    def with_values(self, **values: float) -> Coefficients:
        """These with other values, also of registered terms; ValueError naming the coefficients there are."""
        names = coefficient_names()
        if unknown := sorted(values.keys() - set(names)):
            raise ValueError(f"no coefficient {', '.join(unknown)}; there are: {', '.join(names)}")
        own = {name: float(values.pop(name)) for name in own_weights() if name in values}
        return dataclasses.replace(self, **values, own=tuple(sorted({**dict(self.own), **own}.items())))

    def terms(self) -> frozenset[str]:
        """Which terms must be computed: of "pave", "asap", "gp" and the names in `actor_terms.TERMS`."""
        weights = {
            "pave": ("mpr", "vfc", "curv"),
            "asap": ("asap_spatial", "asap_predictor"),
            "gp": ("action_gradient",),
            **{name: term.weights for name, term in TERMS.items()},
        }
        return frozenset(term for term, names in weights.items() if any(self.value(name) for name in names))

    def named(self) -> dict[str, float]:
        """What tells these coefficients from others, for a run's name: weights that are not zero, and what they use.

        A coefficient of a term that is not there has no part in the run. Any other counts where it differs from its
        default, which then stays as it is; so adding one renames no run.
        """
        used_with = {
            "sigma": self.mpr,
            "delta": self.curv,
            "caps_sigma": self.caps_spatial,
            "asap_target_tau": self.asap_spatial,
        }
        values = {f.name: (getattr(self, f.name), f.default) for f in dataclasses.fields(self) if f.name != "own"}
        named = {name: value for name, (value, default) in values.items() if used_with.get(name, value != default)}
        return named | {name: value for name, value in self.own if value}


def own_weights() -> tuple[str, ...]:
    """The weights of registered terms that are no fields of Coefficients."""
    fields = {field.name for field in dataclasses.fields(Coefficients)}
    return tuple(name for term in TERMS.values() for name in term.weights if name not in fields)


def coefficient_names() -> tuple[str, ...]:
    """All coefficients: those of the published methods and of ours, and the weights of registered terms."""
    return (*(field.name for field in dataclasses.fields(Coefficients) if field.name != "own"), *own_weights())


@cache
def _published() -> dict:
    with open(paths.data_folder() / "published" / "pave_hyperparameters.yaml") as file:
        return yaml.safe_load(file)


def _check(name: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"unknown {name} {value!r}; known: {', '.join(known)}")


_GYMNASIUM_ID = re.compile(r"[\w.:/-]+-v\d+")


def _check_environment(environment: str) -> None:
    if not _GYMNASIUM_ID.fullmatch(environment):
        _check("environment", environment, environments())


def published_settings(algorithm: str, environment: str) -> AlgorithmSettings:
    """The published settings of an algorithm ("td3", "sac") in an environment ("lunar", ..., "walker").

    In another one, by its name in data/environments.yaml or its Gymnasium id, those that most environments share.
    """
    _check("algorithm", algorithm, ALGORITHMS)
    _check_environment(environment)
    table = _published()[algorithm]
    values = dict(table["common"])
    values.update(table.get(environment, table.get("default", {})))
    hidden = tuple(_published()["networks"][algorithm]["hidden"])
    return AlgorithmSettings(algorithm=algorithm, hidden=hidden, **values)


def published_coefficients(method: str, algorithm: str, environment: str) -> Coefficients:
    """The published weights of a method ("base", "caps", "grad", "asap", "pave")."""
    _check("method", method, METHODS)
    _check("algorithm", algorithm, ALGORITHMS)
    _check_environment(environment)
    if method == "base":
        return Coefficients()
    table = _published()[method]
    if environment not in table.get(algorithm, {environment}):
        raise ValueError(
            f"nothing is published for {method} with {algorithm} in {environment}: give weights of your own"
        )
    if method == "pave":
        return Coefficients(**table[algorithm][environment], sigma=table["sigma"], delta=table["delta"])
    if method == "asap":
        row = table[algorithm][environment]
        return Coefficients(
            grad_temporal=row["temporal"],
            asap_spatial=row["spatial"],
            asap_predictor=row["predictor"],
            asap_target_tau=table["target_tau"],
        )
    row = table.get(environment, table["default"])
    if method == "caps":
        return Coefficients(caps_temporal=row["temporal"], caps_spatial=row["spatial"], caps_sigma=table["sigma"])
    return Coefficients(grad_temporal=row["temporal"])


def published_steps(environment: str) -> int:
    """Environment steps of a published training run."""
    _check_environment(environment)
    if environment not in environments():
        raise ValueError(f"no number of steps is published for {environment}: give steps of your own")
    return environments()[environment]["steps"]


def published_seeds() -> tuple[int, ...]:
    """The seeds of the five published training runs."""
    return tuple(_published()["seeds"]["training"])


@cache
def environments() -> dict[str, dict]:
    """By name, how each environment is made and how long runs train in it: data/environments.yaml."""
    return yaml.safe_load((paths.data_folder() / "environments.yaml").read_text(encoding="utf-8"))
