"""LQG without limits, solved on paper: the exact oracle of notebooks 10 and 17 and of the simulation's tests."""

from __future__ import annotations


class UnlimitedLQG:
    """LQG without limits: s' = A (s + a), reward -B (s^2 + a^2), a ~ N(theta s, sigma^2): V = -(p s^2 + c), exact.

    p and c solve p = B (1 + theta^2) + gamma A^2 (1 + theta)^2 p and c = B sigma^2 + gamma (A^2 sigma^2 p + c).
    """

    def __init__(self, a: float, theta: float, sigma: float, discount: float, b: float = 0.5):
        self.a, self.b, self.theta, self.sigma, self.discount = a, b, theta, sigma, discount
        growth = discount * a**2 * (1 + theta) ** 2
        if growth >= 1:
            raise ValueError(f"the return diverges: gamma A^2 (1 + theta)^2 = {growth:.3g}")
        self.p = b * (1 + theta**2) / (1 - growth)
        self.c = sigma**2 * (b + discount * a**2 * self.p) / (1 - discount)

    @property
    def mixed(self) -> float:
        """M = |Q_sa|."""
        return 2 * self.discount * self.p * self.a**2

    @property
    def mu(self) -> float:
        """-Q_aa."""
        return 2 * (self.b + self.discount * self.p * self.a**2)

    def state_value(self, s):
        """V(s)."""
        return -(self.p * s**2 + self.c)

    def action_value(self, s, a):
        """Q(s, a)."""
        return -self.b * (s**2 + a**2) + self.discount * self.state_value(self.a * (s + a))

    def expected_return(self, mean_square: float) -> float:
        """J for a start with E[s^2] = mean_square."""
        return -(self.p * mean_square + self.c)

    def gradient(self, mean_square: float) -> float:
        """dJ / dtheta, by differentiating p and c."""
        growth_slope = 2 * self.discount * self.a**2 * (1 + self.theta)
        remaining = 1 - growth_slope * (1 + self.theta) / 2
        p_slope = (2 * self.b * self.theta + growth_slope * self.p) / remaining
        c_slope = self.sigma**2 * self.discount * self.a**2 * p_slope / (1 - self.discount)
        return -(p_slope * mean_square + c_slope)
