"""The numbers PAVE prints (data/published), keyed like our runs: "MPR+VFC" is mpr_vfc, "SN-Critic" sn_critic."""

from __future__ import annotations

import pandas as pd

from paperlib.pave.engine import settings
from paperlib.repro import paths

ENVIRONMENTS = tuple(settings.environments())
METHODS = settings.METHODS


def _read(name: str) -> pd.DataFrame:
    table = pd.read_csv(paths.data_folder() / "published" / f"{name}.csv")
    for column in {"algorithm", "method", "configuration"} & set(table.columns):
        table[column] = table[column].str.lower().str.replace("[+-]", "_", regex=True)
    return table


def values(
    table: pd.DataFrame, measure: str, algorithm: str | None = None, keys: tuple[str, ...] = ("environment", "method")
) -> dict[tuple, float]:
    """{(environment, method): printed mean} of a measure, which is named as in our tables, where it is printed.

    keys: the columns that tell the cells apart; during training "step" is one of them.
    """
    if algorithm is not None:
        table = table[table["algorithm"] == algorithm]
    column = f"{measure}_mean" if f"{measure}_mean" in table.columns else measure
    return table.dropna(subset=[column]).set_index(list(keys))[column].to_dict()


def return_and_smoothness() -> pd.DataFrame:
    """Tables 1 and 2: table, algorithm, method, environment, return_mean, return_std, smoothness_mean, _std."""
    return _read("pave_return_smoothness")


def critic_geometry() -> pd.DataFrame:
    """Project page, table (a), TD3: algorithm, method, environment, mixed_hessian_sup, negative_definite_rate."""
    return _read("pave_critic_geometry")


def gradient_cosine() -> pd.DataFrame:
    """Project page, table (b), TD3: algorithm, method, environment, cosine_mean, flip_rate."""
    return _read("pave_gradient_cosine")


def geometry_during_training() -> pd.DataFrame:
    """Project page, table (f), TD3: environment, step, method, mixed_hessian_sup, negative_definite_rate."""
    return _read("pave_geometry_during_training")


def critic_side_baselines() -> pd.DataFrame:
    """Project page, table (c), TD3: method, environment and four measures, some not printed."""
    return _read("pave_critic_side_baselines")


def ablation() -> pd.DataFrame:
    """Project page, table (d), TD3 on Walker2d: environment, method, mpr, vfc, curv, return_mean, smoothness_mean."""
    table = _read("pave_ablation_walker_td3").rename(columns={"configuration": "method"})
    return table.assign(environment="walker")


def actor_side_combination() -> pd.DataFrame:
    """Project page, table (e), TD3 on LunarLander: environment, method, smoothness, return_mean."""
    return _read("pave_actor_side_combination_lunar_td3").assign(environment="lunar")
