"""Noise levels at any time, and the ODE that inference follows through them."""

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from noprop_dist.maths.noise_ranges import (
    LOG_SIGMA,
    SIGMA_MAX,
    SIGMA_MIN,
    c_in,
    edm_weight,
    log_sigma,
    time_of,
)
from noprop_dist.maths.process import flow_step
from noprop_dist.maths.schedule import ALPHA_BARS, make_schedule, snr_rate

TIMES = torch.linspace(0, 1, 4001, dtype=torch.float64)


def test_snr_rate_of_a_line_is_its_derivative() -> None:
    alpha_bar = partial(ALPHA_BARS["linear"], lo=0.1, hi=0.9)
    wanted = 0.8 / (1 - alpha_bar(TIMES)).square()
    torch.testing.assert_close(snr_rate(alpha_bar, TIMES), wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", ALPHA_BARS)
def test_snr_rate_adds_up_to_the_gain_of_a_block(name: str) -> None:
    """The weights of NoProp-CT over an interval are those of NoProp-DT (eq. 8)."""
    s = make_schedule(name, 4, lo=1e-4, hi=0.9)
    rate = snr_rate(partial(ALPHA_BARS[name], lo=1e-4, hi=0.9), TIMES)
    for t in range(1, 5):
        part = slice((t - 1) * 1000, t * 1000 + 1)
        gain = torch.trapezoid(rate[part], TIMES[part])
        torch.testing.assert_close(gain, s.snr_gain[t], atol=0, rtol=1e-5)


def test_uniform_times_are_log_normal_sigmas() -> None:
    found = log_sigma(TIMES)
    assert found[0].exp().item() == pytest.approx(SIGMA_MAX, rel=1e-9)
    assert found[-1].exp().item() == pytest.approx(SIGMA_MIN, rel=1e-9)
    assert bool((found.diff() < 0).all())
    quarters = [LOG_SIGMA.inv_cdf(share) for share in (0.75, 0.5, 0.25)]
    torch.testing.assert_close(
        found[1000::1000][:3], torch.tensor(quarters).double(), atol=1e-3, rtol=0
    )
    assert [time_of(x) for x in found[::500].tolist()] == pytest.approx(TIMES[::500].tolist())
    assert (time_of(math.inf), time_of(-math.inf)) == (0, 1)


def test_edm_s_scalings_give_unit_variance_and_an_even_weight() -> None:
    """The error of F in D = c_skip z + c_out F weighs 1: the weight is 1 / c_out^2."""
    sigma, data = torch.tensor([0.01, 0.5, 20.0]).double(), 0.3
    torch.testing.assert_close(
        c_in(sigma, data) ** 2 * (sigma**2 + data**2), torch.ones(3).double()
    )
    c_out = sigma * data / (sigma**2 + data**2).sqrt()
    torch.testing.assert_close(edm_weight(sigma, data) * c_out**2, torch.ones(3).double())


def test_a_step_is_exact_where_u_hat_is_constant() -> None:
    u, noise = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    found = flow_step(0.2 * u + 0.9 * noise, u, (0.2, 0.9), (0.7, 0.3))
    torch.testing.assert_close(found, 0.7 * u + 0.3 * noise)
    torch.testing.assert_close(flow_step(noise, u, (0.0, 1.0), (1.0, 0.0)), u)


def test_between_straight_paths_a_step_is_euler_s_along_the_velocity() -> None:
    z, u_hat = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    euler = z + 0.1 * (u_hat - z) / (1 - 0.4)
    torch.testing.assert_close(flow_step(z, u_hat, (0.4, 0.6), (0.5, 0.5)), euler)


@pytest.mark.parametrize(("heun", "order"), [(False, 1), (True, 2)])
def test_steps_come_to_the_exact_solution_for_normal_labels(heun: bool, order: int) -> None:
    """u ~ N(0, v): the best u_hat is m v z / (m^2 v + s^2), and the ODE keeps z's quantile."""
    v, z_0 = 0.7, torch.tensor([-1.3, 0.4, 2.0]).double()

    def u_hat(z: Tensor, m: float, s: float) -> Tensor:
        return m * v * z / (m * m * v + s * s)

    def spread(m: float, s: float) -> float:
        return math.sqrt(m * m * v + s * s)

    def error(steps: int) -> float:
        share = ALPHA_BARS["cosine"](torch.linspace(0, 1, steps + 1).double(), 1e-4, 0.99)
        levels = list(zip(share.sqrt().tolist(), (1 - share).sqrt().tolist(), strict=True))
        z = z_0 * spread(*levels[0])
        for here, there in pairwise(levels):
            told = u_hat(z, *here)
            if heun:
                told = (told + u_hat(flow_step(z, told, here, there), *there)) / 2
            z = flow_step(z, told, here, there)
        return float((z - z_0 * spread(*levels[-1])).abs().max())

    assert error(400) < 0.02
    assert error(400) / error(800) == pytest.approx(2**order, rel=0.15)
