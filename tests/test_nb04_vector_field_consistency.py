"""The checks of notebook 04: they pass for the right formulas, and the ledger's rules reject wrong ones."""

import pytest
import torch

from paperlib.notebooks.nb04_vector_field_consistency import measures as vf
from paperlib.pave import critic_geometry, losses
from paperlib.pave.example_critics import ConcaveCritic, QuadraticCritic, random_network, trained_networks
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
REJECTED = verdicts.DOES_NOT_HOLD


def verdict(name, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"pave.vfc.{name}"], measured, corrected, "", "any").verdict


def random_transitions(d_s, d_a, rows=40, length=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(d):
        return torch.randn(rows, d, generator=generator, dtype=torch.float64)

    states, steps = normal(d_s), length * normal(d_s)
    return vf.Transitions(states, normal(d_a).tanh(), states + steps, torch.zeros(rows, dtype=torch.float64))


def quadratic(d_s, d_a, stiffness=3.0):
    coupling = torch.randn(d_a, d_s, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return QuadraticCritic(stiffness * torch.eye(d_a, dtype=torch.float64), coupling)


@pytest.fixture(scope="module")
def pendulum():
    networks = trained_networks()["pendulum", "base"]
    return vf.recorded_critic(networks), vf.replay_transitions(networks, "pendulum", episodes=2, seed=0)


class TestLoss:
    def used(self, critic, t):
        arguments = {"state_noise": torch.zeros_like(t.states), "probes": torch.ones_like(t.actions), "delta": 1.0}
        return losses.pave_losses(critic, t.states, t.actions, t.next_states, **arguments).vfc

    def verdict(self, factor, integrand=vf.squared_distance):
        t, critic = random_transitions(5, 3), ConcaveCritic(5, 3)
        written = vf.vfc_terms(critic, t, integrand=integrand)
        printed = vf.relative_difference(self.used(critic, t), written)
        return verdict("definition", printed, vf.relative_difference(factor * self.used(critic, t), written))

    def test_the_loss_used_is_the_printed_one_divided_by_the_action_dimension(self):
        assert self.verdict(3) == verdicts.CORRECTED

    @pytest.mark.parametrize("factor", [2, 9, 1 / 3])
    def test_another_normaliser_is_rejected(self, factor):
        assert self.verdict(factor) == REJECTED

    @pytest.mark.parametrize(
        "integrand",
        [
            lambda here, there: (here + there).square().sum(-1),
            lambda here, there: (here - there).norm(dim=-1),
            lambda here, there: 0.5 * (here - there).square().sum(-1),
        ],
        ids=["sign", "square missing", "half"],
    )
    def test_another_integrand_is_rejected(self, integrand):
        assert self.verdict(3, integrand) == REJECTED


class TestFirstOrder:
    # Two critics: H_sa of the second is square, so that its transpose fits as well.
    CRITICS = {"oblong": (4, 2), "square": (3, 3)}
    FRACTIONS = (1e-4, 1e-3, 1e-2)

    def verdict(self, product=vf.hessian_step_product):
        own, slopes = {}, {}
        for name, (d_s, d_a) in self.CRITICS.items():
            t, critic = random_transitions(d_s, d_a, length=2.0), random_network(d_s, d_a, hidden=(32, 32))
            critic = _scaled(critic)
            errors = vf.first_order_errors(critic, t, (1.0, *self.FRACTIONS), product=product)
            own[name] = errors[0].median().item()
            slopes[name] = vf.slope_over_transitions(self.FRACTIONS, errors[1:])
        return verdict("first_order", own, slopes)

    def test_the_product_holds_in_the_limit_of_short_steps(self):
        assert self.verdict() == verdicts.CORRECTED

    @pytest.mark.parametrize(
        "product",
        [
            lambda mixed, steps: 2 * vf.hessian_step_product(mixed, steps),
            lambda mixed, steps: (
                vf.hessian_step_product(mixed.mT, steps)
                if mixed.shape[1] == mixed.shape[2]
                else vf.hessian_step_product(mixed, steps)
            ),
            lambda mixed, steps: vf.hessian_step_product(mixed, steps.abs()),
            lambda mixed, steps: vf.hessian_step_product(mixed, steps / steps.norm(dim=1, keepdim=True)),
            lambda mixed, steps: mixed.norm(dim=(1, 2))[:, None] * steps.norm(dim=1, keepdim=True),
        ],
        ids=["factor 2", "transpose", "signs lost", "length lost", "norms multiplied"],
    )
    def test_another_product_is_rejected(self, product):
        assert self.verdict(product) == REJECTED

    def test_it_is_exact_for_a_quadratic_critic(self):
        errors = vf.first_order_errors(quadratic(4, 2), random_transitions(4, 2, length=3.0), [1.0])
        assert errors.max() < 1e-10

    def test_the_error_starts_with_its_leading_term(self):
        t, critic = random_transitions(4, 2), ConcaveCritic(4, 2)
        observed = vf.first_order_errors(critic, t, [1e-5])[0] / 1e-5
        leading = vf.leading_error_coefficient(critic, t)
        assert ((observed - leading).abs() / leading).median() < 1e-3

    def test_the_averaged_mixed_hessian_is_exact_at_any_length(self):
        t, critic = random_transitions(4, 2, length=2.0), ConcaveCritic(4, 2)
        here, there = (critic_geometry.action_gradient(critic, s, t.actions) for s in (t.states, t.next_states))
        torch.testing.assert_close(vf.chord_average_product(critic, t, 60), there - here, rtol=1e-7, atol=1e-9)

    def test_a_transition_without_change_has_no_relative_error(self):
        t = random_transitions(4, 2)
        still = vf.Transitions(t.states, t.actions, t.states.clone(), t.rewards)
        with pytest.raises(ValueError, match="transition 0 at fraction 1"):
            vf.first_order_errors(quadratic(4, 2), still)

    def test_a_slope_needs_positive_points(self):
        assert vf.log_log_slope([1, 10, 100], torch.tensor([3.0, 300.0, 30000.0])) == pytest.approx(2.0)
        with pytest.raises(ValueError, match="positive"):
            vf.log_log_slope([1, 2], torch.tensor([0.0, 1.0]))


def _scaled(critic):
    """A random network with larger weights, which bends as a trained one does."""
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(4.0)
    return critic


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
    def test_gaussian_policies_have_their_known_divergences(self):
        # Precision 400 in a box of half-width 1 around means near 0: the truncation is below rounding.
        critic, t = quadratic(3, 1, stiffness=400.0), random_transitions(3, 1, length=3.0)
        squared = vf.hessian_step_product(critic.coupling.expand(len(t), -1, -1), t.steps).square().sum(1).detach()
        torch.testing.assert_close(vf.fisher_divergence(critic, t, nodes=120), squared, rtol=1e-7, atol=0)
        torch.testing.assert_close(vf.boltzmann_weighted_vfc(critic, t, nodes=90), squared, rtol=1e-7, atol=0)
        torch.testing.assert_close(vf.boltzmann_divergence(critic, t, nodes=90), squared / 800, rtol=1e-7, atol=0)

    def score_verdict(self, score, pendulum):
        critic, t = pendulum
        cases = {"recorded": critic, "concave": ConcaveCritic(3, 1)}
        sample = t.sample(30, 0).states
        return verdict(
            "boltzmann_score", {n: vf.score_error(c, sample, nodes=32, score=score) for n, c in cases.items()}
        )

    def test_the_action_gradient_is_the_score(self, pendulum):
        assert self.score_verdict(critic_geometry.action_gradient, pendulum) == verdicts.HOLDS

    @pytest.mark.parametrize(
        "change",
        [lambda g: -g, lambda g: 2 * g, lambda g: g.exp(), lambda g: g - g.mean()],
        ids=["sign", "factor 2", "exponential", "mean taken off"],
    )
    def test_another_score_is_rejected(self, change, pendulum):
        def score(critic, states, actions):
            return change(critic_geometry.action_gradient(critic, states, actions))

        assert self.score_verdict(score, pendulum) == REJECTED

    def fisher_verdict(self, **formula):
        replay, weighted = {}, {}
        for name, (d_s, d_a) in {"one": (3, 1), "two": (4, 2)}.items():
            t, critic = random_transitions(d_s, d_a, rows=15), ConcaveCritic(d_s, d_a)
            fisher = vf.fisher_divergence(critic, t, nodes=22)
            replay[name] = vf.relative_difference(vf.vfc_terms(critic, t), fisher)
            weighted[name] = vf.relative_difference(vf.boltzmann_weighted_vfc(critic, t, nodes=18, **formula), fisher)
        return verdict("fisher_divergence", replay, weighted)

    def test_vfc_is_the_fisher_divergence_if_actions_come_from_the_policy(self):
        assert self.fisher_verdict() == verdicts.CORRECTED

    @pytest.mark.parametrize(
        "formula",
        [
            {"integrand": lambda here, there: (here + there).square().sum(-1)},
            {"integrand": lambda here, there: (here - there).norm(dim=-1)},
            {"integrand": lambda here, there: (here - there).square().mean(-1)},
            {"integrand": lambda here, there: 0.5 * (here - there).square().sum(-1)},
            {"weight_states": lambda t: t.next_states},
        ],
        ids=["sign", "square missing", "mean over actions", "half", "the other policy's weight"],
    )
    def test_another_formula_is_rejected(self, formula):
        assert self.fisher_verdict(**formula) == REJECTED

    def test_the_divergence_is_bounded_by_fisher_and_curvature(self):
        critic, t = ConcaveCritic(3, 1), random_transitions(3, 1)
        bound = vf.fisher_divergence(critic, t, nodes=40) / (2 * critic.curvatures(t.next_states)[:, 0])
        assert (vf.boltzmann_divergence(critic, t, nodes=40) <= bound * (1 + 1e-9)).all()

    def tracking_verdict(self, pendulum, integrand=vf.squared_distance):
        critic, t = pendulum
        term = vf.vfc_terms(critic, t, integrand=integrand)
        return verdict(
            "tracks_distribution_shift", vf.rank_correlation(term, vf.boltzmann_divergence(critic, t, nodes=24))
        )

    def test_the_loss_tracks_the_shift_on_recorded_transitions(self, pendulum):
        assert self.tracking_verdict(pendulum) == verdicts.HOLDS

    @pytest.mark.parametrize(
        "integrand",
        [lambda here, there: (here + there).square().sum(-1), lambda here, there: -(here - there).square().sum(-1)],
        ids=["sum of gradients", "sign"],
    )
    def test_another_loss_does_not_track_it(self, integrand, pendulum):
        assert self.tracking_verdict(pendulum, integrand) == REJECTED

    def test_the_length_of_the_step_alone_ranks_unrelated_quantities_alike(self):
        generator = torch.Generator().manual_seed(0)
        t = random_transitions(3, 1)
        lengths = torch.logspace(-3, 3, len(t), dtype=torch.float64)[:, None]
        t = vf.Transitions(t.states, t.actions, t.states + lengths * t.steps, t.rewards)
        term, shift = (
            t.steps.square().sum(1) * torch.rand(len(t), generator=generator, dtype=torch.float64) for _ in range(2)
        )
        equal_length = vf.rank_correlation(*(vf.at_equal_length(values, t) for values in (term, shift)))
        assert verdict("tracks_distribution_shift", vf.rank_correlation(term, shift)) == verdicts.HOLDS
        assert verdict("tracks_distribution_shift_at_equal_length", equal_length) == REJECTED

    def test_the_loss_of_a_quadratic_critic_tracks_the_shift_at_equal_length_too(self):
        t, critic = random_transitions(3, 1, length=0.01), quadratic(3, 1)
        shift = vf.boltzmann_divergence(critic, t, nodes=40)
        values = [vf.at_equal_length(values, t) for values in (vf.vfc_terms(critic, t), shift)]
        assert verdict("tracks_distribution_shift_at_equal_length", vf.rank_correlation(*values)) == verdicts.HOLDS
        still = vf.Transitions(t.states, t.actions, t.states, t.rewards)
        with pytest.raises(ValueError, match="transition 0 does not move"):
            vf.at_equal_length(shift, still)

    def test_a_constant_has_no_rank_correlation(self):
        with pytest.raises(ValueError, match="constant"):
            vf.rank_correlation(torch.ones(4), torch.arange(4.0))

    def test_a_relative_difference_needs_a_positive_reference(self):
        with pytest.raises(ValueError, match="positive"):
            vf.relative_difference(torch.ones(3), torch.zeros(3))


class TestSelectivity:
    def test_isotropic_coupling_is_the_mean_over_the_sphere(self):
        mixed = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        many = torch.randn(90000, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        sampled = vf.directional_coupling(mixed.repeat(30000, 1, 1), many)
        assert sampled == pytest.approx(vf.isotropic_coupling(mixed), rel=0.01)

    def shrunk(self, across, along):
        """Mixed Hessians before and after shrinking them along the steps and across them by known factors."""
        generator = torch.Generator().manual_seed(0)
        before = torch.randn(200, 2, 6, generator=generator, dtype=torch.float64)
        steps = torch.randn(200, 6, generator=generator, dtype=torch.float64)
        unit = steps / steps.norm(dim=1, keepdim=True)
        projector = unit[:, :, None] * unit[:, None, :]
        return before @ (across * (torch.eye(6) - projector) + along * projector), before, steps

    def test_a_loss_that_acts_along_transitions_is_recognised(self):
        assert (
            verdict("acts_along_transitions.at_halving_weight", vf.selectivity(*self.shrunk(across=1.0, along=0.5)))
            == verdicts.HOLDS
        )

    def test_a_loss_that_acts_everywhere_or_elsewhere_is_rejected(self):
        assert (
            verdict("acts_along_transitions.at_halving_weight", vf.selectivity(*self.shrunk(across=0.5, along=0.5)))
            == REJECTED
        )
        assert (
            verdict("acts_along_transitions.at_halving_weight", vf.selectivity(*self.shrunk(across=0.5, along=1.0)))
            == REJECTED
        )

    @pytest.mark.parametrize(
        ("across", "along", "expected"), [(0.5, 1.0, verdicts.HOLDS), (0.5, 0.5, REJECTED), (1.0, 0.5, REJECTED)]
    )
    def test_coherence_comes_free_unless_isotropic_smoothing_spares_the_transitions(self, across, along, expected):
        spared = vf.selectivity(*self.shrunk(across=across, along=along))
        assert verdict("coherence_is_not_free.at_halving_weight", spared) == expected

    def test_with_and_without_are_not_interchangeable(self):
        after, before, steps = self.shrunk(across=1.0, along=0.5)
        assert verdict("acts_along_transitions.at_halving_weight", vf.selectivity(before, after, steps)) == REJECTED

    def test_fitting_with_vfc_acts_along_transitions_and_leaves_the_recording_alone(self):
        networks = trained_networks()["reacher", "base"]
        untouched = networks.critics[0][0].weight.clone()
        t = vf.replay_transitions(networks, "reacher", episodes=6, seed=0)
        fitted = vf.fit_critics(networks, t, vfc=[0.0, 10.0], mpr=[0.0, 0.0], updates=80, seed=0)
        without, with_vfc = (critic_geometry.mixed_hessian(c, t.states, t.actions) for c in fitted)
        assert (
            verdict("acts_along_transitions.at_halving_weight", vf.selectivity(with_vfc, without, t.steps))
            == verdicts.HOLDS
        )
        assert torch.equal(networks.critics[0][0].weight, untouched)

    def test_equal_weights_give_equal_critics(self):
        networks = trained_networks()["reacher", "base"]
        t = vf.replay_transitions(networks, "reacher", episodes=2, seed=0)
        one, two = vf.fit_critics(networks, t, vfc=[1.0, 1.0], mpr=[0.0, 0.0], updates=5, seed=0)
        torch.testing.assert_close(one(t.states, t.actions), two(t.states, t.actions), rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match="as many VFC as MPR"):
            vf.fit_critics(networks, t, vfc=[1.0], mpr=[], updates=5, seed=0)

    def test_the_halving_weight_is_the_smallest_that_halves(self):
        assert vf.halving_weight([0.0, 1.0, 10.0, 100.0], [1.0, 0.8, 0.5, 0.2]) == 2
        with pytest.raises(ValueError, match="no weight up to 1 halves"):
            vf.halving_weight([0.0, 1.0], [1.0, 0.8])
        with pytest.raises(ValueError, match="rising weights from 0"):
            vf.halving_weight([1.0, 0.0], [1.0, 0.8])


class TestTransitions:
    def test_successors_follow_each_other_within_an_episode(self):
        networks = trained_networks()["pendulum", "base"]
        t = vf.replay_transitions(networks, "pendulum", episodes=1, seed=0)
        assert len(t) == 199
        assert torch.equal(t.states[1:], t.next_states[:-1])
        assert t.actions.abs().max() <= 1

    def test_the_same_seed_gives_the_same_transitions(self):
        networks = trained_networks()["pendulum", "base"]
        first, second = (vf.replay_transitions(networks, "pendulum", episodes=1, seed=4) for _ in range(2))
        assert torch.equal(first.next_states, second.next_states)

    def test_the_spectrum_of_isotropic_steps_is_flat_and_of_one_direction_is_one(self):
        steps = torch.randn(40000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        torch.testing.assert_close(vf.direction_spectrum(steps), torch.full((4,), 0.25).double(), rtol=0, atol=0.01)
        assert vf.direction_spectrum(steps[:1] * torch.tensor([[1.0], [-2.0], [0.0]]))[0].item() == pytest.approx(1.0)

    def test_bad_input_is_refused(self):
        t = random_transitions(3, 1, rows=4)
        with pytest.raises(ValueError, match="same number of rows"):
            vf.Transitions(t.states[:2], t.actions, t.next_states, t.rewards)
        with pytest.raises(ValueError, match="cannot sample 5 of 4"):
            t.sample(5, seed=0)
        with pytest.raises(ValueError, match="zero vectors"):
            vf.direction_spectrum(torch.zeros(3, 2))
        with pytest.raises(ValueError, match="at least one episode"):
            vf.replay_transitions(trained_networks()["pendulum", "base"], "pendulum", episodes=0, seed=0)
