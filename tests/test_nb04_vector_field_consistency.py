"""Notebook 04's quadratures and second routes find what is known. Wrong formulas meet the rules in the notebook."""

import pytest
import torch

from paperlib.notebooks.nb04_vector_field_consistency import measures as vf
from paperlib.notebooks.shared.transitions import Transitions
from paperlib.pave import critic_geometry
from paperlib.pave.example_critics import ConcaveCritic, QuadraticCritic, random_network
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()


def verdict(name, measured):
    return verdicts.decide(CLAIMS[f"pave.vfc.{name}"], measured, None, "", "any").verdict


def random_transitions(d_s, d_a, rows=40, length=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(d):
        return torch.randn(rows, d, generator=generator, dtype=torch.float64)

    states, steps = normal(d_s), length * normal(d_s)
    return Transitions(states, normal(d_a).tanh(), states + steps, torch.zeros(rows, dtype=torch.float64))


def quadratic(d_s, d_a, stiffness=3.0):
    coupling = torch.randn(d_a, d_s, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return QuadraticCritic(stiffness * torch.eye(d_a, dtype=torch.float64), coupling)


def at_equal_length(values, transitions):
    return values / transitions.steps.square().sum(1)


class TestFirstOrder:
    def test_the_terms_of_a_quadratic_critic_are_its_coupling_times_the_step(self):
        t, critic = random_transitions(4, 2, length=3.0), quadratic(4, 2)
        torch.testing.assert_close(vf.vfc_terms(critic, t), (t.steps @ critic.coupling.mT).square().sum(1).detach())

    def test_a_slope_over_transitions_is_that_of_the_median_with_its_interval(self):
        fractions = (1e-3, 1e-2, 1e-1)
        generator = torch.Generator().manual_seed(0)
        heights = torch.rand(50, generator=generator, dtype=torch.float64)
        second_order = torch.tensor(fractions, dtype=torch.float64)[:, None].square() * heights
        slope = vf.slope_over_transitions(fractions, second_order)
        assert slope["mean"] == pytest.approx(2) and slope["low"] <= 2 + 1e-9 and slope["high"] >= 2 - 1e-9

    def test_the_error_starts_with_its_leading_term(self):
        t, critic = random_transitions(4, 2), ConcaveCritic(4, 2)
        mixed = critic_geometry.mixed_hessian(critic, t.states, t.actions)
        squared = torch.einsum("bij,bj->bi", mixed, t.steps).square().sum(1)
        short = Transitions(t.states, t.actions, t.states + 1e-5 * t.steps, t.rewards)
        exact = vf.vfc_terms(critic, short)
        observed = (1e-10 * squared - exact).abs() / exact / 1e-5
        leading = vf.leading_error_coefficient(critic, t)
        assert ((observed - leading).abs() / leading).median() < 1e-3

    def test_the_averaged_mixed_hessian_is_exact_at_any_length(self):
        t, critic = random_transitions(4, 2, length=2.0), ConcaveCritic(4, 2)
        here, there = (critic_geometry.action_gradient(critic, s, t.actions) for s in (t.states, t.next_states))
        torch.testing.assert_close(vf.chord_average_product(critic, t, 60), there - here, rtol=1e-7, atol=1e-9)

    def test_the_error_of_a_random_network_is_first_order(self):
        t, critic = random_transitions(4, 2, length=2.0), random_network(4, 2, hidden=(32, 32))
        assert (vf.leading_error_coefficient(critic, t) > 0).all()


class TestQuadrature:
    @pytest.mark.parametrize("make", [vf.gauss_legendre_grid, vf.clenshaw_curtis_grid])
    @pytest.mark.parametrize("d_a", [1, 2, 3])
    def test_a_grid_integrates_polynomials_over_the_box(self, make, d_a):
        grid = make(d_a, 9)
        assert grid.weights.sum().item() == pytest.approx(2**d_a)
        assert (grid.points.pow(4).prod(dim=1) @ grid.weights).item() == pytest.approx((2 / 5) ** d_a)

    def test_bad_grids_are_refused(self):
        with pytest.raises(ValueError, match="nodes"):
            vf.clenshaw_curtis_grid(1, 1)
        with pytest.raises(ValueError, match="dimension"):
            vf.gauss_legendre_grid(0, 4)

    def test_the_spectral_score_is_the_gradient_in_every_dimension(self):
        critic, states = ConcaveCritic(4, 2), random_transitions(4, 2, rows=5).states
        grid, _, score = vf.spectral_score(critic, states, 12, 2)
        for row, state in enumerate(states):
            exact = critic_geometry.action_gradient(critic, state.expand(len(grid.points), -1), grid.points)
            torch.testing.assert_close(score[row], exact, rtol=0, atol=1e-9)


class TestBoltzmannPolicy:
    def test_gradients_on_a_grid_are_those_of_each_state(self):
        critic, states, grid = (
            ConcaveCritic(4, 2),
            random_transitions(4, 2, rows=3).states,
            vf.gauss_legendre_grid(2, 4),
        )
        gradients = vf.gradients_on_grid(critic, states, grid)
        for row, state in enumerate(states):
            exact = critic_geometry.action_gradient(critic, state.expand(len(grid.points), -1), grid.points)
            torch.testing.assert_close(gradients[row], exact)

    def test_gaussian_policies_have_their_known_divergences(self):
        # Precision 400 in a box of half-width 1 around means near 0: the truncation is below rounding.
        critic, t = quadratic(3, 1, stiffness=400.0), random_transitions(3, 1, length=3.0)
        squared = (t.steps @ critic.coupling.mT).square().sum(1).detach()
        torch.testing.assert_close(vf.fisher_divergence(critic, t, nodes=120), squared, rtol=1e-7, atol=0)
        torch.testing.assert_close(vf.boltzmann_divergence(critic, t, nodes=90), squared / 800, rtol=1e-7, atol=0)

    def test_the_divergence_is_bounded_by_fisher_and_curvature(self):
        critic, t = ConcaveCritic(3, 1), random_transitions(3, 1)
        bound = vf.fisher_divergence(critic, t, nodes=40) / (2 * critic.curvatures(t.next_states)[:, 0])
        assert (vf.boltzmann_divergence(critic, t, nodes=40) <= bound * (1 + 1e-9)).all()

    def test_the_length_of_the_step_alone_ranks_unrelated_quantities_alike(self):
        generator = torch.Generator().manual_seed(0)
        t = random_transitions(3, 1)
        lengths = torch.logspace(-3, 3, len(t), dtype=torch.float64)[:, None]
        t = Transitions(t.states, t.actions, t.states + lengths * t.steps, t.rewards)
        term, shift = (
            t.steps.square().sum(1) * torch.rand(len(t), generator=generator, dtype=torch.float64) for _ in range(2)
        )
        equal_length = vf.rank_correlation(*(at_equal_length(values, t) for values in (term, shift)))
        assert verdict("tracks_distribution_shift", vf.rank_correlation(term, shift)) == verdicts.HOLDS
        assert verdict("tracks_distribution_shift_at_equal_length", equal_length) == verdicts.DOES_NOT_HOLD

    def test_the_loss_of_a_quadratic_critic_tracks_the_shift_at_equal_length_too(self):
        t, critic = random_transitions(3, 1, length=0.01), quadratic(3, 1)
        shift = vf.boltzmann_divergence(critic, t, nodes=40)
        values = [at_equal_length(values, t) for values in (vf.vfc_terms(critic, t), shift)]
        assert verdict("tracks_distribution_shift_at_equal_length", vf.rank_correlation(*values)) == verdicts.HOLDS

    def test_a_constant_has_no_rank_correlation(self):
        with pytest.raises(ValueError, match="constant"):
            vf.rank_correlation(torch.ones(4), torch.arange(4.0))


class TestDirections:
    def test_the_spectrum_of_isotropic_steps_is_flat_and_of_one_direction_is_one(self):
        steps = torch.randn(40000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        torch.testing.assert_close(vf.direction_spectrum(steps), torch.full((4,), 0.25).double(), rtol=0, atol=0.01)
        assert vf.direction_spectrum(steps[:1] * torch.tensor([[1.0], [-2.0], [0.0]]))[0].item() == pytest.approx(1.0)

    def test_steps_of_length_zero_have_no_direction(self):
        with pytest.raises(ValueError, match="zero vectors"):
            vf.direction_spectrum(torch.zeros(3, 2))
