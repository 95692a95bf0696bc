"""The settings handed to training against the settings file, read here in its own way."""

import dataclasses

import pytest
import yaml

from paperlib.pave.engine import actor_terms, settings
from paperlib.pave.engine.settings import (
    ALGORITHMS,
    METHODS,
    Coefficients,
    environments,
    published_coefficients,
    published_seeds,
    published_settings,
    published_steps,
)
from paperlib.repro import paths

ENVIRONMENTS = ("lunar", "pendulum", "reacher", "ant", "hopper", "walker")


@pytest.fixture(scope="module")
def table():
    return yaml.safe_load((paths.data_folder() / "published" / "pave_hyperparameters.yaml").read_text())


def test_all_six_environments_are_there():
    assert set(environments()) >= set(ENVIRONMENTS)


def test_an_environment_of_ones_own_has_the_common_settings_and_no_published_weights(monkeypatch):
    monkeypatch.setattr(settings, "environments", lambda: {"cheetah": {"id": "HalfCheetah-v5", "steps": 10}})
    assert published_settings("td3", "cheetah").gamma == 0.99
    assert published_coefficients("caps", "td3", "cheetah").caps_temporal == 0.1
    for method in ("pave", "asap"):
        with pytest.raises(ValueError, match=f"nothing is published for {method} with sac in cheetah"):
            published_coefficients(method, "sac", "cheetah")


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_td3_settings_are_the_published_ones(table, environment):
    values = dataclasses.asdict(published_settings("td3", environment))
    short = environment in ("lunar", "pendulum")
    assert values["hidden"] == (400, 300)
    assert values["gamma"] == (0.98 if short else 0.99)
    assert values["buffer_size"] == (200_000 if short else 1_000_000)
    assert values["entropy_coefficient"] is None
    for name, value in table["td3"]["common"].items():
        assert values[name] == value


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_sac_settings_are_the_published_ones(table, environment):
    values = dataclasses.asdict(published_settings("sac", environment))
    assert values["hidden"] == (256, 256)
    assert values["entropy_coefficient"] == 0.2
    assert (values["train_freq"], values["gradient_steps"]) == (50, 50)
    assert values["policy_delay"] is None
    for name, value in table["sac"]["common"].items():
        assert values[name] == value


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_pave_coefficients_are_the_published_ones(table, algorithm, environment):
    row = table["pave"][algorithm][environment]
    expected = Coefficients(mpr=row["mpr"], vfc=row["vfc"], curv=row["curv"], sigma=0.01, delta=1.0)
    assert published_coefficients("pave", algorithm, environment) == expected


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_baseline_coefficients_are_the_published_ones(table, algorithm, environment):
    caps = (1.0, 5.0) if environment == "pendulum" else (0.1, 0.5)
    row = table["asap"][algorithm][environment]
    expected = {
        "base": Coefficients(),
        "caps": Coefficients(caps_temporal=caps[0], caps_spatial=caps[1], caps_sigma=0.2),
        "grad": Coefficients(grad_temporal=1.0),
        "asap": Coefficients(
            grad_temporal=row["temporal"], asap_spatial=row["spatial"], asap_predictor=row["predictor"]
        ),
    }
    for method, coefficients in expected.items():
        assert published_coefficients(method, algorithm, environment) == coefficients


def test_three_cells_as_they_stand_in_the_paper():
    walker = published_coefficients("pave", "sac", "walker")
    assert (walker.mpr, walker.vfc, walker.curv) == (2.0, 0.005, 2.0)
    ant = published_coefficients("asap", "td3", "ant")
    assert (ant.asap_predictor, ant.asap_spatial, ant.grad_temporal) == (2.0, 0.3, 0.05)
    assert published_settings("td3", "hopper").target_policy_noise == 0.2


def test_each_method_computes_its_own_terms_and_no_other():
    terms = {method: published_coefficients(method, "td3", "walker").terms() for method in METHODS}
    assert terms == {
        "base": frozenset(),
        "caps": {"caps"},
        "grad": {"grad"},
        "asap": {"asap", "grad"},
        "pave": {"pave"},
    }


@pytest.mark.parametrize("field", ("mpr", "vfc", "curv"))
def test_one_nonzero_weight_is_enough_for_its_term(field):
    assert Coefficients(**{field: 0.1}).terms() == {"pave"}


def test_a_run_with_a_noise_scale_but_no_weight_is_base():
    assert Coefficients(sigma=0.5, delta=3.0, caps_sigma=1.0).terms() == frozenset()


def test_steps_seeds_and_target_rate_are_the_published_ones(table):
    assert [published_steps(e) for e in ENVIRONMENTS] == [500_000, 100_000, 500_000, 1_000_000, 1_000_000, 1_000_000]
    assert published_seeds() == tuple(table["seeds"]["training"])
    assert len(set(published_seeds())) == 5
    assert published_coefficients("asap", "sac", "walker").asap_target_tau == table["asap"]["target_tau"] == 0.01


@pytest.mark.parametrize(
    ("call", "wrong"),
    (
        (lambda: published_settings("ppo", "walker"), "algorithm 'ppo'"),
        (lambda: published_settings("td3", "cheetah"), "environment 'cheetah'"),
        (lambda: published_coefficients("dropout", "td3", "walker"), "method 'dropout'"),
        (lambda: published_coefficients("base", "ppo", "walker"), "algorithm 'ppo'"),
        (lambda: published_coefficients("base", "td3", "cheetah"), "environment 'cheetah'"),
        (lambda: published_steps("cheetah"), "environment 'cheetah'"),
    ),
)
def test_an_unknown_name_is_named_in_the_error_beside_the_known_ones(call, wrong):
    with pytest.raises(ValueError, match=f"unknown {wrong}; known: "):
        call()


def test_settings_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        published_settings("td3", "walker").gamma = 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        Coefficients().mpr = 1.0


def test_any_gymnasium_id_has_the_common_settings_and_neither_weights_nor_steps_of_the_papers():
    assert published_settings("td3", "HalfCheetah-v5") == published_settings("td3", "walker")
    assert published_coefficients("base", "td3", "HalfCheetah-v5") == Coefficients()
    with pytest.raises(ValueError, match="nothing is published for pave with td3 in HalfCheetah-v5"):
        published_coefficients("pave", "td3", "HalfCheetah-v5")
    with pytest.raises(ValueError, match="no number of steps is published for HalfCheetah-v5"):
        published_steps("HalfCheetah-v5")


@pytest.fixture
def own_term(monkeypatch):
    monkeypatch.setattr(actor_terms, "TERMS", settings.TERMS.copy())
    monkeypatch.setattr(settings, "TERMS", actor_terms.TERMS)
    term = actor_terms.ActorTerm(("own_weight",), lambda batch, noise, c: batch.states, lambda *_: 0.0)
    actor_terms.register("own", term)
    return term


def test_a_registered_terms_weight_is_a_coefficient_that_names_only_its_own_runs(own_term):
    plain = Coefficients(mpr=1.0)
    weighted = plain.with_values(own_weight=2, vfc=3.0)
    assert weighted.value("own_weight") == 2.0 and plain.value("own_weight") == 0.0
    assert weighted.terms() == {"pave", "own"} and plain.terms() == {"pave"}
    assert weighted.named() == {"mpr": 1.0, "vfc": 3.0, "sigma": 0.01, "own_weight": 2.0}
    assert plain.with_values(own_weight=0.0).named() == plain.named()
    assert hash(weighted) == hash(plain.with_values(vfc=3.0, own_weight=2.0))


def test_unknown_coefficients_and_names_in_use_are_refused(own_term):
    with pytest.raises(ValueError, match="no coefficient mrp; there are: mpr, .*own_weight"):
        Coefficients().with_values(mrp=1.0)
    for name, term in (("own", own_term), ("another", own_term), ("pave", own_term._replace(weights=("new",)))):
        with pytest.raises(ValueError, match="is there already"):
            actor_terms.register(name, term)
