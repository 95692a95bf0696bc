"""Notebooks 15 and 16, the domains themselves: a right model gives the claim its verdict, a wrong one takes it."""

import dataclasses
import math

import numpy as np
import pytest

from paperlib.lipschitz.experiments import load_step_sizes
from paperlib.lipschitz.simulation.domains import C1, C2, MassSpringDamper, ShipSteering
from paperlib.notebooks.nb15_mass_spring_damper import mechanics as spring_mechanics
from paperlib.notebooks.nb16_ship_steering import mechanics as ship_mechanics
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
SPRING = MassSpringDamper(**C1)
SHIP, PRINTED_SHIP = (ShipSteering(0.01, math.pi / 2, stray_factor=stray) for stray in (False, True))


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"lip.{claim}"], measured, corrected, "", "smoke").verdict


def specs(name):
    return {run.cell: run.spec() for run in load_step_sizes(name, "paper")}


def changed(specs, cell, **parameters):
    return specs | {cell: specs[cell] | {"parameters": specs[cell]["parameters"] | parameters}}


def spring_settings(specs):
    return spring_mechanics.settings(specs["c1"], specs["c2"])


@dataclasses.dataclass(frozen=True)
class SteepReward(MassSpringDamper):
    """Pays for distance with a square."""

    def reward(self, state, action):
        return super().reward(state, action) * (2 + np.abs(state[0]))


@dataclasses.dataclass(frozen=True)
class CurrentInY(ShipSteering):
    """A current across instead of along."""

    def velocity(self, state, action):
        east, north = super().velocity(state, action)
        return east, north - self.speed * state[0]


@dataclasses.dataclass(frozen=True)
class SquaredReward(ShipSteering):
    """Pays for the squared distance."""

    def reward(self, state, action):
        return -(super().reward(state, action) ** 2)


OPTIMAL = ship_mechanics.OptimalHeadings(ShipSteering(0.01, 0.0), spacing=0.2, headings=72)
GRID = np.meshgrid(OPTIMAL.x, OPTIMAL.y, indexing="ij")

MUTATIONS = {
    "msd.settings": (
        lambda: spring_settings(specs("mass_spring_damper")),
        lambda: spring_settings(changed(specs("mass_spring_damper"), "c2", mass=0.2)),
    ),
    "msd.policy_model": (
        lambda: spring_mechanics.deviation_of_first_actions(SPRING, 100_000),
        lambda: spring_mechanics.deviation_of_first_actions(
            dataclasses.replace(SPRING, standard_deviation=math.sqrt(0.5)), 100_000
        ),
    ),
    "msd.reward_constant": (
        lambda: spring_mechanics.reward_constant(SPRING),
        lambda: spring_mechanics.reward_constant(SteepReward(**C1)),
    ),
    "msd.damped_frequency": (
        lambda: spring_mechanics.frequency_error(4),
        lambda: spring_mechanics.frequency_error(4, formula=lambda k, m, c: math.sqrt(k / m)),
    ),
    "ship.settings": (
        lambda: ship_mechanics.settings(specs("ship_steering")),
        lambda: ship_mechanics.settings(changed(specs("ship_steering"), "north slow", speed=0.006)),
    ),
    "ship.current": (
        lambda: ship_mechanics.current_failures(SHIP),
        lambda: ship_mechanics.current_failures(CurrentInY(0.01, math.pi / 2)),
    ),
    "ship.initial_policy": (
        lambda: {"north": ship_mechanics.first_headings(SHIP, 100_000)},
        lambda: {"north": ship_mechanics.first_headings(dataclasses.replace(SHIP, standard_deviation=0.8), 100_000)},
    ),
    "ship.reward_constant": (
        lambda: ship_mechanics.reward_constant(SHIP),
        lambda: ship_mechanics.reward_constant(SquaredReward(0.01, math.pi / 2)),
    ),
    "ship.no_inertia": (
        lambda: ship_mechanics.inertia_failures(SHIP, 100),
        lambda: ship_mechanics.inertia_failures(SHIP, 100, lag=0.3),
    ),
    "ship.optimal_policy_not_linear": (
        lambda: {"fast": ship_mechanics.share_left_by_affine(OPTIMAL)},
        lambda: {"fast": ship_mechanics.share_left_by_affine(OPTIMAL, 0.1 + 0.2 * GRID[0] - 0.1 * GRID[1])},
    ),
    "ship.transition_constant": (
        lambda: {k: max(ship_mechanics.euler_slopes(ShipSteering(s, 0.0))) for k, s in ship_mechanics.SPEEDS.items()},
        lambda: {
            k: max(ship_mechanics.euler_slopes(ShipSteering(2 * s, 0.0))) for k, s in ship_mechanics.SPEEDS.items()
        },
    ),
}


@pytest.mark.parametrize("claim", MUTATIONS)
def test_a_wrong_model_turns_the_verdict(claim):
    right, wrong = MUTATIONS[claim]
    assert verdict(claim, right()) == "holds"
    assert verdict(claim, wrong()) == "does not hold"


CORRECTIONS = {
    "msd.underdamped": lambda: (dampings := spring_mechanics.by_configuration(lambda d: d.damping_ratio), dampings),
    "msd.transition_constant_c2": lambda: (
        spring_mechanics.euclidean_constant(MassSpringDamper(**C2)),
        MassSpringDamper(**C2).spectral_radius(),
    ),
    "msd.c2_has_smaller_constant": lambda: (
        spring_mechanics.difference_c2_c1(),
        spring_mechanics.difference_c2_c1(spring_mechanics.by_configuration(lambda d: d.spectral_radius())),
    ),
    "msd.transition_is_a_contraction": lambda: (
        spring_mechanics.by_configuration(spring_mechanics.constant_in_state),
        spring_mechanics.by_configuration(lambda d: d.spectral_radius()),
    ),
    "ship.dynamics": lambda: (ship_mechanics.deviation_of_speed(PRINTED_SHIP), ship_mechanics.deviation_of_speed(SHIP)),
    "ship.north_heading": lambda: (ship_mechanics.northward(PRINTED_SHIP), ship_mechanics.northward(SHIP)),
}


@pytest.mark.parametrize("claim", CORRECTIONS)
def test_a_slip_is_corrected_and_without_its_correction_does_not_hold(claim):
    measured, corrected = CORRECTIONS[claim]()
    exception = CLAIMS[f"lip.{claim}"].correction.exception
    assert verdict(claim, measured, corrected) == ("holds, with an exception" if exception else verdicts.CORRECTED)
    worse = (
        {k: 9.0 for k in corrected} if isinstance(corrected, dict) else (-9.0 if claim == "ship.north_heading" else 9.0)
    )
    assert verdict(claim, measured, worse) == "does not hold"


def test_the_best_heading_at_the_start_is_beyond_north():
    heading = {"speed_1": ship_mechanics.heading_at_start(OPTIMAL)}
    assert verdict("ship.must_turn_north", heading, heading) == verdicts.CORRECTED
    assert verdict("ship.must_turn_north", {"speed_1": 90.0}, {"speed_1": 90.0}) == verdicts.HOLDS
    assert verdict("ship.must_turn_north", {"speed_1": 30.0}, {"speed_1": 30.0}) == verdicts.DOES_NOT_HOLD


def test_no_norm_gives_the_printed_constant_of_c1():
    assert verdict("msd.transition_constant_c1", SPRING.spectral_radius()) == "does not hold"


def test_the_optimal_policy_sails_to_the_goal_and_beats_fixed_headings():
    def final_distance(policy):
        state = tuple(np.array([c]) for c in OPTIMAL.domain.start_at)
        for _ in range(40):
            state = OPTIMAL.domain.step(state, policy(state))
        return float(np.hypot(*state)[0])

    reached = final_distance(OPTIMAL)
    assert reached < 0.4
    assert all(final_distance(lambda s, a=a: np.full(1, a)) > reached + 0.5 for a in (0.0, math.pi / 2, math.pi - 0.01))
