"""Noise schedules and the step coefficients derived from them (sec. 2.1, eq. 3-6).

T blocks. Every table has T + 1 entries so that ``table[t]`` is literally the paper's; an entry that
does not exist (``a[0]``, ``snr_gain[0]``, ...) is NaN, which makes an off-by-one loud.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class Schedule:
    """The tables of one noise schedule, float64 of shape (T + 1,) each.

    Attributes:
        alpha_bar: product of ``alpha[s]`` over s = t..T; increases with t, unlike DDPM code's.
        alpha: ``alpha_bar[t] / alpha_bar[t + 1]`` for t < T, and ``alpha[T] = alpha_bar[T]``.
        snr: ``alpha_bar / (1 - alpha_bar)``.
        snr_gain: ``snr[t] - snr[t - 1]``, the weight of block t's loss in eq. 8; NaN at 0.
        a: coefficient of u_hat in eq. 3; NaN at 0.
        b: coefficient of z_{t-1} in eq. 3; NaN at 0.
        c: variance (not standard deviation) of the noise in eq. 3; NaN at 0.
    """

    alpha_bar: Tensor
    alpha: Tensor
    snr: Tensor
    snr_gain: Tensor
    a: Tensor
    b: Tensor
    c: Tensor

    @property
    def num_blocks(self) -> int:
        """T."""
        return len(self.alpha_bar) - 1


def cosine_alpha_bar(time: Tensor, lo: float, hi: float) -> Tensor:
    """The cosine schedule, mapped affinely onto [lo, hi].

    Deviation: the paper says only "fixed cosine schedule". The ends are mapped, not clamped: a
    clamp makes neighbours equal for large T and the step coefficients degenerate.

    Args:
        time: float of any shape, from 0, noise, to 1, the label; t / T for block t's end.
        lo: alpha_bar at time 0, in (0, hi).
        hi: alpha_bar at time 1, in (lo, 1).
    """

    def f(s: Tensor) -> Tensor:
        return torch.cos((s + 0.008) / 1.008 * (math.pi / 2)) ** 2

    zero, one = time.new_zeros(()), time.new_ones(())
    # At time 0 this is cos(pi/2)^2, zero up to rounding: stretching keeps both ends exact.
    first, last, g = (f(1 - at) / f(zero) for at in (zero, one, time))
    return lo + (hi - lo) * (g - first) / (last - first)


def linear_alpha_bar(time: Tensor, lo: float, hi: float) -> Tensor:
    """alpha_bar growing from lo to hi as time does; arguments as for the cosine schedule."""
    return lo + (hi - lo) * time


ALPHA_BARS: dict[str, Callable[[Tensor, float, float], Tensor]] = {
    "cosine": cosine_alpha_bar,
    "linear": linear_alpha_bar,
}


def make_schedule(name: str, T: int, *, lo: float, hi: float) -> Schedule:
    """The schedule called ``name`` ("cosine" or "linear") for T blocks, alpha_bar from lo to hi.

    Raises:
        ValueError: unknown name, T below 1, or not 0 < lo < hi < 1.
    """
    if name not in ALPHA_BARS:
        raise ValueError(f"unknown schedule {name!r}; known are {', '.join(ALPHA_BARS)}")
    if T < 1:
        raise ValueError(f"a schedule needs at least one block, got T = {T}")
    if not 0 < lo < hi < 1:
        raise ValueError(f"alpha_bar must rise inside (0, 1), got ends {lo} and {hi}")
    time = torch.arange(T + 1, dtype=torch.float64) / T
    return schedule_from_alpha_bar(ALPHA_BARS[name](time, lo, hi))


def schedule_from_alpha_bar(alpha_bar: Float64[Tensor, " T_plus_1"]) -> Schedule:
    """All tables from alpha_bar (eq. 6).

    Args:
        alpha_bar: (T + 1,) float64, strictly increasing inside (0, 1).

    Raises:
        ValueError: alpha_bar has no block, leaves (0, 1) or does not increase.
    """
    if len(alpha_bar) < 2:
        raise ValueError(f"alpha_bar needs at least two entries, got {len(alpha_bar)}")
    if not bool((alpha_bar > 0).all() and (alpha_bar < 1).all()):
        raise ValueError("alpha_bar must lie inside (0, 1)")
    if not bool((alpha_bar.diff() > 0).all()):
        raise ValueError("alpha_bar must increase strictly with t")
    prev, here = alpha_bar[:-1], alpha_bar[1:]
    alpha_prev = prev / here
    rest = 1 - prev
    snr = alpha_bar / (1 - alpha_bar)
    return Schedule(
        alpha_bar=alpha_bar,
        alpha=torch.cat([alpha_prev, here[-1:]]),
        snr=snr,
        snr_gain=_from_one(snr.diff()),
        a=_from_one(here.sqrt() * (1 - alpha_prev) / rest),
        b=_from_one(alpha_prev.sqrt() * (1 - here) / rest),
        c=_from_one((1 - here) * (1 - alpha_prev) / rest),
    )


def snr_rate(alpha_bar: Callable[[Tensor], Tensor], time: Tensor) -> Tensor:
    """SNR'(time), the derivative of alpha_bar / (1 - alpha_bar): eq. 8's weight at any time.

    Args:
        alpha_bar: of a time, element by element; differentiable.
        time: float of any shape.
    """
    with torch.enable_grad():
        time = time.detach().requires_grad_()
        share = alpha_bar(time)
        (rate,) = torch.autograd.grad((share / (1 - share)).sum(), time)
    return rate


def _from_one(values: Tensor) -> Tensor:
    """Shift a table of t = 1..T so that index t is t."""
    return torch.cat([values.new_full((1,), math.nan), values])
