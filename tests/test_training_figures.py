"""Figures of training runs draw what they are given."""

import matplotlib
import numpy as np
import pandas as pd
import pytest

from paperlib.pave.engine.evaluation import Episode
from paperlib.pave.figures.names import METHOD_COLOURS, environment_name, method_name
from paperlib.pave.figures.training import action_traces, learning_curves, loss_terms, mean_spectrum
from paperlib.pave.records import printed_tables
from paperlib.repro import paths

matplotlib.use("Agg")


def evaluations(methods, seeds=(1, 2, 3)) -> pd.DataFrame:
    rows = [
        {"algorithm": algorithm, "method": method, "seed": seed, "step": step, "return": float(seed * step)}
        for algorithm in ("td3", "sac")
        for method in methods
        for seed in seeds
        for step in (10, 20)
    ]
    return pd.DataFrame(rows)


def test_curves_are_means_over_runs_with_a_band_that_contains_them():
    figure = learning_curves(evaluations(["base", "pave"]), {"return": "return"})
    axes = figure.axes[0]
    for line, band in zip(axes.get_lines(), axes.collections, strict=True):
        np.testing.assert_allclose(line.get_ydata(), [20.0, 40.0])
        low, high = band.get_paths()[0].vertices[:, 1].min(), band.get_paths()[0].vertices[:, 1].max()
        assert low < 20 and high > 40
    assert [line.get_label() for line in axes.get_lines()] == ["Base", "PAVE"]


def test_a_method_keeps_its_colour_whatever_stands_beside_it():
    colours = {
        tuple(methods): {line.get_label(): line.get_color() for line in learning_curves(
            evaluations(methods), {"return": "return"}).axes[0].get_lines()}
        for methods in (["pave"], ["base", "pave"], ["caps", "pave", "pave_times_100", "pave_times_10000"])
    }  # fmt: skip
    assert len({named["PAVE"] for named in colours.values()}) == 1
    assert len(set(colours["caps", "pave", "pave_times_100", "pave_times_10000"].values())) == 4


def test_a_single_run_is_drawn_without_a_band():
    figure = learning_curves(evaluations(["base"], seeds=(2,)), {"return": "return"})
    assert not figure.axes[0].collections
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), [20.0, 40.0])


def test_the_mean_spectrum_of_equal_sines_is_one_peak():
    actions = np.sin(2 * np.pi * 0.25 * np.arange(40))[:, None]
    episode = Episode(np.zeros((40, 1)), actions, actions, np.zeros(40))
    frequencies, amplitudes = mean_spectrum([episode, episode])
    assert frequencies[amplitudes.argmax()] == pytest.approx(0.25)
    assert amplitudes.max() == pytest.approx(1.0)


def test_traces_of_two_methods_lie_on_one_scale_and_so_do_their_spectra():
    wave = np.sin(np.arange(40.0))[:, None]
    small, large = (Episode(np.zeros((40, 1)), size * wave, size * wave, np.zeros(40)) for size in (1.0, 5.0))
    figure = action_traces({"base": [large, small], "pave": [small, large]}, shown=1)
    base, spectra, pave = figure.axes
    assert base.get_ylim() == pave.get_ylim() and base.get_ylim()[1] > 4.5
    assert [line.get_label() for line in spectra.get_lines()] == ["Base", "PAVE"]
    np.testing.assert_array_equal(pave.get_lines()[0].get_ydata(), large.environment_actions[:, 0])


def test_spectra_of_several_runs_have_a_band_over_runs_that_holds_the_mean():
    wave = np.sin(np.arange(40.0))[:, None]
    runs = [Episode(np.zeros((40, 1)), size * wave, size * wave, np.zeros(40)) for size in (1.0, 2.0, 6.0)]
    figure = action_traces({"base": runs, "pave": runs}, unit="N m", per_run=1)
    spectra = figure.axes[1]
    assert len(spectra.collections) == 2
    low, high = (spectra.collections[0].get_paths()[0].vertices[:, 1].max() * share for share in (0.2, 1.0))
    assert low < spectra.get_lines()[0].get_ydata().max() < high
    assert spectra.get_ylabel() == "mean amplitude (N m)"
    assert not action_traces({"base": runs}).axes[1].collections


def test_methods_stand_in_the_papers_order_and_variants_behind_them():
    table = evaluations(["base", "pave_times_100", "pave", "caps"])
    handles = learning_curves(table, {"return": "return"}).axes[0].get_lines()
    assert [line.get_label() for line in handles] == ["Base", "CAPS", "PAVE", "PAVE x 100"]


def test_the_terms_of_the_loss_are_drawn_as_means_over_runs():
    steps = pd.DataFrame({"seed": [1, 1, 2, 2], "step": [10, 20, 10, 20]})
    table = steps.assign(td_loss=[1.0, 2.0, 3.0, 4.0], weighted_mpr=0.1, weighted_vfc=0.2, weighted_curv=0.3)
    lines = {line.get_label(): line.get_ydata() for line in loss_terms(table).axes[0].get_lines()}
    np.testing.assert_allclose(lines["TD"], [2.0, 3.0])
    assert {name: set(np.round(y, 6)) for name, y in lines.items() if name != "TD"} == {
        "MPR": {0.1},
        "VFC": {0.2},
        "Curv": {0.3},
    }


@pytest.mark.parametrize(
    ("method", "name"),
    [("base", "Base"), ("asap", "ASAP"), ("pave_times_100", "PAVE x 100"), ("sn_critic", "SN-Critic")],
)
def test_methods_are_spelled_as_in_the_paper(method, name):
    assert method_name(method) == name


def test_printed_tables_name_methods_and_environments_as_figures_do():
    table = printed_tables.return_and_smoothness()
    assert set(table["method"]) == set(printed_tables.METHODS) and set(table["environment"]) == set(
        printed_tables.ENVIRONMENTS
    )
    printed = pd.read_csv(paths.data_folder() / "published" / "pave_return_smoothness.csv")["method"]
    assert set(printed) == {method_name(method) for method in printed_tables.METHODS}
    assert [environment_name(e) for e in ("lunar", "walker")] == ["LunarLander", "Walker2d"]


def test_no_two_methods_share_a_colour():
    assert set(printed_tables.METHODS) <= set(METHOD_COLOURS) and len(set(METHOD_COLOURS.values())) == len(
        METHOD_COLOURS
    )
