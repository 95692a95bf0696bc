"""Notebook 03's solvers and draws find what is known. Wrong formulas are put to the rules in the notebook itself."""

import pytest
import sympy as sp
import torch

from paperlib.notebooks.nb03_mixed_partial_regularization import measures as mpr
from paperlib.notebooks.nb03_mixed_partial_regularization.cost import entrywise_hessian
from paperlib.notebooks.nb03_mixed_partial_regularization.fit import fit_with_mpr
from paperlib.notebooks.shared.numerics import log_log_slope
from paperlib.pave.critic_geometry import mixed_hessian
from paperlib.pave.example_critics import QuadraticCritic, random_network, trained_networks
from paperlib.repro import verdicts
from paperlib.repro.claims import load_claims

CLAIMS = load_claims()
SIGMA = 0.01
SIGMAS = (0.00125, 0.0025, 0.005)


def frobenius_verdict(printed, limit):
    return verdicts.decide(CLAIMS["pave.mpr.frobenius"], printed, limit, "", "smoke").verdict


def moments(case, sigma):
    return sigma**2 * torch.linalg.matrix_norm(mixed_hessian(*case)).square()


def at_noise(case, sigma, pairs):
    return mpr.loss_over_moment(mpr.losses_at_points(case, sigma, pairs), moments(case, sigma))


def in_the_limit(case, pairs, sigmas=SIGMAS):
    losses = torch.stack([mpr.losses_at_points(case, sigma, pairs) for sigma in sigmas])
    return mpr.extrapolated_loss_over_moment(sigmas, losses, torch.stack([moments(case, sigma) for sigma in sigmas]))


@pytest.fixture(scope="module")
def concave():
    return mpr.square_case()


@pytest.fixture(scope="module")
def network():
    return mpr.Case(random_network(5, 3, hidden=(32, 32)), *mpr.normal_points(5, 3, 40))


@pytest.fixture(scope="module")
def quadratic():
    generator = torch.Generator().manual_seed(0)
    coupling = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    return mpr.Case(QuadraticCritic(torch.eye(2, dtype=torch.float64), coupling), *mpr.normal_points(4, 2, 10))


@pytest.fixture(scope="module")
def networks():
    return trained_networks()["pendulum", "base"]


class TestProxy:
    def test_the_difference_of_a_quadratic_critic_is_its_mixed_hessian_times_the_noise(self, quadratic):
        noise = 3 * mpr.unit_directions(quadratic)
        expected = torch.einsum("bij,bj->bi", mixed_hessian(*quadratic), noise)
        torch.testing.assert_close(mpr.gradient_difference(*quadratic, noise), expected)

    def test_its_error_is_first_order_in_sigma(self, network):
        sigmas = (1e-4, 1e-3, 1e-2)
        errors = [mpr.proxy_error(network, mixed_hessian(*network), sigma) for sigma in sigmas]
        assert log_log_slope(sigmas, errors) == pytest.approx(1, abs=0.1)

    def test_float32_rounding_takes_over_at_small_sigma(self, network):
        mixed = mixed_hessian(*network)
        tiny = [mpr.proxy_error(network, mixed, sigma, dtype=torch.float32) for sigma in (1e-6, 1e-5)]
        assert tiny[0] > tiny[1] > mpr.proxy_error(network, mixed, 1e-5)

    def test_measuring_leaves_the_critic_in_float64(self, network):
        mpr.proxy_error(network, mixed_hessian(*network), SIGMA, dtype=torch.float32)
        assert next(network.critic.parameters()).dtype == torch.float64

    def test_without_a_linear_term_the_error_is_infinite(self, network):
        assert mpr.proxy_error(network, 0 * mixed_hessian(*network), SIGMA) == float("inf")

    @pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
    def test_sigma_must_be_positive(self, network, sigma):
        with pytest.raises(ValueError, match="sigma must be"):
            mpr.proxy_error(network, mixed_hessian(*network), sigma)


class TestMoments:
    def test_cubature_gives_the_trace_for_anisotropic_noise(self):
        mixed = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        scales = torch.tensor([0.1, 1, 1, 1, 2], dtype=torch.float64)
        torch.testing.assert_close(mpr.cubature_moment(mixed, 1.0, scales=scales), (mixed * scales).square().sum())
        with pytest.raises(ValueError, match="scales must have shape"):
            mpr.cubature_moment(mixed, 1.0, scales=scales[:2])

    def test_the_loss_is_the_moment_at_the_published_noise(self, network):
        assert frobenius_verdict(at_noise(network, SIGMA, 16), in_the_limit(network, 16)) == verdicts.HOLDS

    def test_a_critic_that_bends_is_biased_at_the_published_noise_and_not_in_the_limit(self):
        def bent(states, actions):  # its bias is 7/4 (20 sigma)^2 to leading order, at every point
            return (actions * torch.exp(20 * states)).sum(1)

        states, actions = mpr.normal_points(2, 2, 60)
        case = mpr.Case(bent, 0.01 * states, actions)
        printed, limit = at_noise(case, SIGMA, 256), in_the_limit(case, 16)
        assert printed["mean"] - 1 == pytest.approx(1.75 * 0.2**2, rel=0.1)
        assert frobenius_verdict(printed, limit) == verdicts.CORRECTED
        assert frobenius_verdict(printed, printed) == verdicts.DOES_NOT_HOLD

    def test_few_points_leave_the_ratio_undecided(self):
        def uneven(states, actions):
            return (actions * torch.sin(12 * states) / (0.1 + states.square())).sum(1)

        case = mpr.Case(uneven, *mpr.normal_points(2, 2, 4))
        measured = at_noise(case, 0.02, 16)
        assert frobenius_verdict(measured, measured) == verdicts.UNDECIDED

    def test_the_control_variate_changes_the_noise_and_not_the_expectation(self, network):
        plain = mpr.squared_differences(network, 0.05 * mpr.normal_draws(512, *network.states.shape)).mean()
        assert mpr.losses_at_points(network, 0.05, 16).mean().item() == pytest.approx(plain.item(), rel=0.01)

    def test_a_line_needs_two_sigmas(self, network):
        with pytest.raises(ValueError, match="two different sigmas"):
            in_the_limit(network, 4, sigmas=(0.01, 0.01))

    def test_a_quadratic_critic_has_no_bias_at_any_noise(self, quadratic):
        assert mpr.ratio_to_linear(quadratic, [0.01, 1.0], 8) == pytest.approx([1, 1])

    def test_the_bias_is_of_fourth_order(self, concave):
        sigmas = (0.003, 0.01, 0.03)
        excess = [abs(ratio - 1) for ratio in mpr.ratio_to_linear(concave, sigmas, 64)]
        assert log_log_slope(sigmas, excess) == pytest.approx(2, abs=0.1)

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

    def test_the_variance_of_the_gradient_of_a_quadratic_critic_is_its_moment(self, quadratic):
        torch.testing.assert_close(mpr.gradient_variances(quadratic, 0.3, 8), moments(quadratic, 0.3))

    def test_a_shift_of_the_mean_is_no_variance(self):
        def even(states, actions):  # its gradient changes by eps^2 alone: mean 1 and variance 2, by sigma^4
            return (actions * states.square()).sum(1)

        case = mpr.Case(even, torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
        variances = mpr.gradient_variances(case, 0.1, 4096) / 0.1**4
        torch.testing.assert_close(variances, torch.full((4,), 2.0, dtype=torch.float64), rtol=0.05, atol=0)


def test_the_entrywise_hessian_is_the_hessian(network):
    torch.testing.assert_close(entrywise_hessian(*network), mixed_hessian(*network))


class TestFits:
    def test_mpr_lowers_the_sup_and_its_absence_halves_nothing(self, networks):
        fits = fit_with_mpr(networks, "pendulum", (0.0, 10.0), 100)
        assert fits.sup_ratio(fits.multiple_that_halves_the_mean()) < 0.9
        with pytest.raises(ValueError, match="no fit with multiple"):
            fits.sup_ratio(3.0)
        with pytest.raises(ValueError, match="no weight up to 1e-09 halves"):
            fit_with_mpr(networks, "pendulum", (0.0, 1e-9), 5).multiple_that_halves_the_mean()

    def test_copies_with_the_same_weight_are_the_same(self, networks):
        table = fit_with_mpr(networks, "pendulum", (0.0, 1.0, 1.0), 5).table
        assert table.iloc[1].drop("environment").equals(table.iloc[2].drop("environment"))

    def test_a_fit_without_mpr_is_needed(self, networks):
        with pytest.raises(ValueError, match="must include 0"):
            fit_with_mpr(networks, "pendulum", (1.0,), 1)
