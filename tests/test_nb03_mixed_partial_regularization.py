"""Notebook 03's measures: they find what is known, and each turns its claim's verdict when its formula is wrong."""

import pytest
import sympy as sp
import torch

from paperlib.notebooks.nb03_mixed_partial_regularization import measures as mpr
from paperlib.notebooks.nb03_mixed_partial_regularization.cost import (
    Bench,
    cost_per_environment,
    entrywise_hessian,
    exact_loss,
)
from paperlib.notebooks.nb03_mixed_partial_regularization.fit import fit_with_mpr
from paperlib.pave.critic_geometry import action_hessian, mixed_hessian
from paperlib.pave.example_critics import ConcaveCritic, QuadraticCritic, random_network, trained_networks
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
LENGTHS = (1e-4, 1e-3, 1e-2)
SIGMAS = (0.00125, 0.0025, 0.005)


def verdict(claim, measured, corrected=None):
    return verdicts.decide(CLAIMS[f"pave.mpr.{claim}"], measured, corrected, "", "smoke").verdict


def holds(claim, measured):
    return verdict(claim, measured) == verdicts.HOLDS


@pytest.fixture(scope="module")
def concave():
    """As many actions as states, so that a transposed Hessian fits."""
    return mpr.Case(ConcaveCritic(3, 3), *mpr.random_points(3, 3, 40))


@pytest.fixture(scope="module")
def network():
    return mpr.Case(random_network(5, 3, hidden=(32, 32)), *mpr.random_points(5, 3, 40))


@pytest.fixture(scope="module")
def quadratic():
    generator = torch.Generator().manual_seed(0)
    coupling = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    return mpr.Case(QuadraticCritic(torch.eye(2, dtype=torch.float64), coupling), *mpr.random_points(4, 2, 10))


@pytest.fixture(scope="module")
def networks():
    return trained_networks()["pendulum", "base"]


WRONG_LINEAR_TERMS = {
    "sign": lambda h, e: -mpr.hessian_vector_product(h, e),
    "factor": lambda h, e: 2 * mpr.hessian_vector_product(h, e),
    "transpose": lambda h, e: mpr.hessian_vector_product(h.mT, e),
    "missing": lambda h, e: torch.zeros(len(e), h.shape[1], dtype=e.dtype),
}


class TestTaylor:
    def test_the_remainder_is_second_order(self, concave, network):
        for case in (concave, network):
            assert holds("taylor", mpr.log_log_slope(LENGTHS, mpr.taylor_remainders(case, LENGTHS)))

    def test_a_quadratic_critic_leaves_no_remainder(self, quadratic):
        assert mpr.taylor_remainders(quadratic, LENGTHS).max() < 1e-14

    @pytest.mark.parametrize("name", WRONG_LINEAR_TERMS)
    def test_a_wrong_linear_term_is_caught(self, concave, name):
        remainders = mpr.taylor_remainders(concave, LENGTHS, linear=WRONG_LINEAR_TERMS[name])
        assert not holds("taylor", mpr.log_log_slope(LENGTHS, remainders))

    def test_the_action_hessian_in_its_place_is_caught(self, concave):
        wrong = action_hessian(*concave)
        remainders = mpr.taylor_remainders(concave, LENGTHS, linear=lambda _, e: mpr.hessian_vector_product(wrong, e))
        assert not holds("taylor", mpr.log_log_slope(LENGTHS, remainders))

    def test_slopes_need_positive_values(self):
        with pytest.raises(ValueError, match="positive"):
            mpr.log_log_slope([1, 2], [0, 1])
        with pytest.raises(ValueError, match="equal length"):
            mpr.log_log_slope([1, 2, 3], [1, 2])


class TestProxy:
    def test_its_error_is_first_order_in_sigma(self, network):
        assert mpr.log_log_slope(LENGTHS, [mpr.proxy_error(network, s) for s in LENGTHS]) == pytest.approx(1, abs=0.1)

    def test_float32_rounding_takes_over_at_small_sigma(self, network):
        tiny = [mpr.proxy_error(network, s, dtype=torch.float32) for s in (1e-6, 1e-5)]
        assert tiny[0] > tiny[1] > mpr.proxy_error(network, 1e-5)

    def test_measuring_leaves_the_critic_in_float64(self, network):
        mpr.proxy_error(network, 0.01, dtype=torch.float32)
        assert next(network.critic.parameters()).dtype == torch.float64

    @pytest.mark.parametrize("name", ["factor", "transpose", "missing"])
    def test_a_wrong_product_is_caught(self, concave, name):
        """The sign does not show in a norm; the Taylor check sees it."""
        assert holds("difference_is_a_proxy", mpr.proxy_error(concave, 0.01))
        wrong = mpr.proxy_error(concave, 0.01, linear=WRONG_LINEAR_TERMS[name])
        assert wrong > 0.1 and (wrong == float("inf") or not holds("difference_is_a_proxy", wrong))

    @pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
    def test_sigma_must_be_positive(self, network, sigma):
        with pytest.raises(ValueError, match="sigma must be"):
            mpr.proxy_error(network, sigma)


WRONG_MOMENTS = {
    "sigma not squared": lambda h, s: mpr.frobenius_moment(h, s) / s,
    "norm not squared": lambda h, s: s**2 * torch.linalg.matrix_norm(h),
    "half": lambda h, s: 0.5 * mpr.frobenius_moment(h, s),
    "spectral norm": lambda h, s: s**2 * torch.linalg.matrix_norm(h, ord=2).square(),
    "nuclear norm": lambda h, s: s**2 * torch.linalg.matrix_norm(h, ord="nuc").square(),
    "mean over actions": lambda h, s: mpr.frobenius_moment(h, s) / h.shape[-2],
}


class TestMoments:
    matrices = [
        torch.randn(a, s, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for a, s in ((2, 5), (4, 3))
    ]

    def test_the_closed_form_agrees_with_cubature(self):
        assert holds("gaussian_moment", mpr.moment_error(self.matrices, 0.01))

    @pytest.mark.parametrize("name", WRONG_MOMENTS)
    def test_a_wrong_closed_form_is_caught(self, network, name):
        assert not holds("gaussian_moment", mpr.moment_error(self.matrices, 0.01, closed_form=WRONG_MOMENTS[name]))
        printed = mpr.loss_over_moment(network, 0.01, 16, closed_form=WRONG_MOMENTS[name])
        limit = mpr.extrapolated_loss_over_moment(network, SIGMAS, 16, closed_form=WRONG_MOMENTS[name])
        assert verdict("frobenius", printed, limit) == verdicts.DOES_NOT_HOLD

    def test_anisotropic_noise_is_caught(self):
        scales = torch.tensor([0.1, 1, 1, 1, 2], dtype=torch.float64)
        uneven = mpr.cubature_moment(self.matrices[0], 1.0, scales=scales)
        torch.testing.assert_close(uneven, (self.matrices[0] * scales).square().sum())
        with pytest.raises(ValueError, match="scales must have shape"):
            mpr.cubature_moment(self.matrices[0], 1.0, scales=scales[:2])

    def test_the_loss_is_the_moment_at_the_published_noise(self, network):
        printed = mpr.loss_over_moment(network, mpr.PUBLISHED_SIGMA, 16)
        assert verdict("frobenius", printed, mpr.extrapolated_loss_over_moment(network, SIGMAS, 16)) == verdicts.HOLDS

    def test_a_critic_that_bends_is_biased_at_the_published_noise_and_not_in_the_limit(self):
        def bent(states, actions):  # its bias is 7/4 (20 sigma)^2 to leading order, at every point
            return (actions * torch.exp(20 * states)).sum(1)

        states, actions = mpr.random_points(2, 2, 60)
        case = mpr.Case(bent, 0.01 * states, actions)
        printed = mpr.loss_over_moment(case, mpr.PUBLISHED_SIGMA, 256)
        limit = mpr.extrapolated_loss_over_moment(case, SIGMAS, 16)
        assert printed["mean"] - 1 == pytest.approx(1.75 * 0.2**2, rel=0.1)
        assert verdict("frobenius", printed, limit) == verdicts.CORRECTED
        assert verdict("frobenius", printed, printed) == verdicts.DOES_NOT_HOLD

    def test_few_points_leave_the_ratio_undecided(self):
        def uneven(states, actions):
            return (actions * torch.sin(12 * states) / (0.1 + states.square())).sum(1)

        case = mpr.Case(uneven, *mpr.random_points(2, 2, 4))
        measured = mpr.loss_over_moment(case, 0.02, 16)
        assert verdict("frobenius", measured, measured) == verdicts.UNDECIDED

    def test_the_control_variate_changes_the_noise_and_not_the_expectation(self, network):
        plain = mpr.squared_differences(network, 0.05 * mpr.normal_draws(512, *network.states.shape)).mean()
        assert mpr.losses_at_points(network, 0.05, 16).mean().item() == pytest.approx(plain.item(), rel=0.01)

    def test_a_line_needs_two_sigmas(self, network):
        with pytest.raises(ValueError, match="two different sigmas"):
            mpr.extrapolated_loss_over_moment(network, (0.01, 0.01), 4)

    def test_a_quadratic_critic_has_no_bias_at_any_noise(self, quadratic):
        assert mpr.ratio_to_linear(quadratic, [0.01, 1.0], 8) == pytest.approx([1, 1])

    def test_the_bias_is_of_fourth_order(self, concave):
        sigmas = (0.003, 0.01, 0.03)
        excess = [abs(ratio - 1) for ratio in mpr.ratio_to_linear(concave, sigmas, 64)]
        assert mpr.log_log_slope(sigmas, excess) == pytest.approx(2, abs=0.1)

    def test_symbolic_gaussian_moments(self):
        x, y, sigma = sp.symbols("x y sigma")
        assert mpr.gaussian_expectation(x**4 * y**2 + x**3 + 2, [x, y], sigma) == 3 * sigma**6 + 2

    def test_draws_are_standard_normal_in_opposite_pairs(self):
        draws = mpr.normal_draws(256, 20, 3)
        assert torch.equal(draws[:256], -draws[256:])
        covariance = torch.einsum("dbi,dbj->ij", draws, draws) / (512 * 20)
        torch.testing.assert_close(covariance, torch.eye(3, dtype=torch.float64), atol=0.02, rtol=0)
        with pytest.raises(ValueError, match="at least 1"):
            mpr.normal_draws(0, 1, 1)

    def test_the_spread_of_one_draw_is_as_predicted(self, quadratic):
        one = mpr.Case(quadratic.critic, quadratic.states[:1], quadratic.actions[:1])
        noise = torch.randn(20000, 1, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        values = mpr.squared_differences(one, noise)[:, 0]
        assert (values.std() / values.mean()).item() == pytest.approx(
            mpr.single_draw_spread(mixed_hessian(*one)).item(), rel=0.05
        )


def variance_verdict(case):
    norms = mpr.spectral_norm, torch.linalg.matrix_norm
    return verdict("gradient_variance", *(mpr.deviation_over_norm(case, 0.001, 8, norm=norm) for norm in norms))


class TestGradientVariance:
    def test_it_is_the_frobenius_norm(self, network):
        assert variance_verdict(network) == verdicts.CORRECTED

    def test_with_one_action_the_two_norms_are_one(self):
        assert variance_verdict(mpr.Case(random_network(3, 1), *mpr.random_points(3, 1, 20))) == verdicts.HOLDS

    def test_another_norm_is_caught(self, network):
        nuclear = mpr.deviation_over_norm(network, 0.001, 8, norm=lambda h: torch.linalg.matrix_norm(h, ord="nuc"))
        assert verdict("gradient_variance", nuclear, nuclear) == verdicts.DOES_NOT_HOLD


class TestNorms:
    def test_the_spectral_norm_is_below_the_frobenius_norm(self, network):
        assert holds("spectral_below_frobenius", mpr.norm_ratios(mixed_hessian(*network)).max())

    @pytest.mark.parametrize(
        "wrong",
        [
            {"smaller": torch.linalg.matrix_norm, "larger": lambda h: torch.linalg.matrix_norm(h, ord=2)},
            {"larger": lambda h: torch.linalg.matrix_norm(h) / h.shape[-2] ** 0.5},
            {"smaller": lambda h: torch.linalg.matrix_norm(h, ord="nuc")},
        ],
    )
    def test_a_wrong_norm_is_caught(self, network, wrong):
        assert not holds("spectral_below_frobenius", mpr.norm_ratios(mixed_hessian(*network), **wrong).max())


class TestDefinition:
    def test_the_used_loss_is_a_mean_over_actions(self, network):
        assert verdict("definition", *mpr.definition_errors({"network": network})) == verdicts.CORRECTED

    def test_a_sum_over_actions_would_be_the_printed_loss(self, network):
        measured = mpr.definition_errors({"network": network}, used=mpr.printed_loss)
        assert verdict("definition", *measured) == verdicts.HOLDS

    def test_a_wrong_factor_is_caught(self, network):
        measured = mpr.definition_errors({"network": network}, factor=lambda case: case.states.shape[1])
        assert verdict("definition", *measured) == verdicts.DOES_NOT_HOLD

    def test_one_action_decides_nothing(self):
        one = mpr.Case(random_network(3, 1, hidden=(4,)), *mpr.random_points(3, 1, 5))
        with pytest.raises(ValueError, match="more than one action"):
            mpr.definition_errors({"one": one})


class TestCost:
    dims = (4, 12)

    def slope(self, build=mixed_hessian, d_s=None):
        return mpr.log_log_slope(self.dims, [Bench(d_s or d, d, batch=2).hessian_work(build) for d in self.dims])

    def test_storage_is_quadratic_and_work_linear(self):
        entries = mpr.log_log_slope(self.dims, [Bench(d, d, batch=2).hessian_entries() for d in self.dims])
        measured = {"entries": entries, "work": self.slope()}
        assert verdict("exact_hessian_cost", measured, self.slope(d_s=6)) == verdicts.CORRECTED

    def test_work_that_is_quadratic_would_be_seen(self):
        measured = {"entries": 2.0, "work": self.slope(entrywise_hessian)}
        assert verdict("exact_hessian_cost", measured, 1.0) == verdicts.HOLDS

    def test_the_entrywise_hessian_is_the_hessian(self, network):
        torch.testing.assert_close(entrywise_hessian(*network), mixed_hessian(*network))

    def test_the_exact_penalty_costs_half_of_one_plus_the_actions_times_mpr(self):
        costs = cost_per_environment()
        assert costs["ratio"].to_numpy() == pytest.approx((1 + costs["d_a"].to_numpy()) / 2, rel=0.02)
        ratio = dict(zip(costs["environment"], costs["ratio"], strict=True))
        many = {name: ratio[name] for name in ("ant", "walker")}
        assert verdict("exact_hessian_prohibitive", ratio, many) == verdicts.EXCEPTION
        upside_down = {name: 1 / value for name, value in many.items()}
        assert verdict("exact_hessian_prohibitive", upside_down, upside_down) == verdicts.DOES_NOT_HOLD

    def test_the_difference_costs_the_same_in_all_dimensions_and_the_exact_penalty_does_not(self):
        large, small = Bench(105, 8, batch=2), Bench(3, 1, batch=2)
        assert holds("proxy_cost", large.loss_work() / small.loss_work())
        assert not holds("proxy_cost", large.loss_work(exact_loss) / small.loss_work(exact_loss))

    def test_the_exact_penalty_holds_more_memory_with_more_actions(self):
        few, many = Bench(6, 2), Bench(6, 8)
        assert many.loss_bytes(exact_loss) > 2 * few.loss_bytes(exact_loss)
        assert many.loss_bytes(mpr.printed_loss) < 1.2 * few.loss_bytes(mpr.printed_loss)

    def test_dimensions_must_be_positive(self):
        with pytest.raises(ValueError, match="at least 1"):
            Bench(0, 1)


class TestFits:
    def test_mpr_lowers_the_sup_and_without_noise_it_does_not(self, networks):
        fits = fit_with_mpr(networks, "pendulum", (0.0, 10.0), 100)
        halving = fits.sup_ratio(fits.multiple_that_halves_the_mean())
        assert holds("lowers_upper_bound.at_halving_weight", halving)
        noiseless = fit_with_mpr(networks, "pendulum", (0.0, 10.0), 100, sigma=1e-9)
        assert not holds("lowers_upper_bound.at_halving_weight", noiseless.sup_ratio(10.0))
        with pytest.raises(ValueError, match="no weight tried"):
            noiseless.multiple_that_halves_the_mean()
        with pytest.raises(ValueError, match="no fit with multiple"):
            fits.sup_ratio(3.0)

    def test_copies_with_the_same_weight_are_the_same(self, networks):
        table = fit_with_mpr(networks, "pendulum", (0.0, 1.0, 1.0), 5).table
        assert table.iloc[1].drop("environment").equals(table.iloc[2].drop("environment"))

    def test_a_fit_without_mpr_is_needed(self, networks):
        with pytest.raises(ValueError, match="must include 0"):
            fit_with_mpr(networks, "pendulum", (1.0,), 1)

    def test_the_recorded_networks_are_not_changed(self, networks):
        before = [p.clone() for p in networks.critics[0].parameters()]
        fit_with_mpr(networks, "pendulum", (0.0,), 2)
        assert all(torch.equal(a, b) for a, b in zip(before, networks.critics[0].parameters(), strict=True))

    def test_replay_rows_are_counted_and_refused_if_too_many(self, networks):
        replay = mpr.replay_transitions(networks, "pendulum", 60, episodes=1)
        assert replay.states.shape == replay.next_states.shape == (60, 3)
        assert replay.states.dtype == torch.float64 and replay.actions.abs().max() <= 1
        with pytest.raises(ValueError, match="hold 199 transitions"):
            mpr.replay_transitions(networks, "pendulum", 1000, episodes=1)
