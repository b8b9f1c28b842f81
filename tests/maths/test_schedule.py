import pytest
import torch

from noprop_dist.maths.schedule import make_schedule, schedule_from_alpha_bar

SCHEDULES = pytest.mark.parametrize("name", ["cosine", "linear"])
BLOCKS = pytest.mark.parametrize("T", [1, 2, 10, 1000])


@SCHEDULES
@BLOCKS
def test_step_coefficients_satisfy_the_identities(name: str, T: int) -> None:
    s = make_schedule(name, T, lo=1e-4, hi=0.99)
    prev, here = s.alpha_bar[:-1], s.alpha_bar[1:]
    a, b, c = s.a[1:], s.b[1:], s.c[1:]
    torch.testing.assert_close(a + b * prev.sqrt(), here.sqrt(), atol=1e-12, rtol=0)
    torch.testing.assert_close(b**2 * (1 - prev) + c, 1 - here, atol=1e-12, rtol=0)
    torch.testing.assert_close(a**2 / c, s.snr[1:] - s.snr[:-1], atol=1e-12, rtol=1e-9)


@SCHEDULES
@BLOCKS
def test_alpha_bar_rises_from_lo_to_hi(name: str, T: int) -> None:
    s = make_schedule(name, T, lo=1e-4, hi=0.99)
    assert s.alpha_bar.dtype == torch.float64
    assert s.num_blocks == T
    assert s.alpha_bar[0].item() == pytest.approx(1e-4, abs=1e-15)
    assert s.alpha_bar[-1].item() == pytest.approx(0.99, abs=1e-12)
    assert (s.snr_gain[1:] > 0).all()


def test_alpha_bar_is_the_product_of_alpha_from_t_on() -> None:
    s = make_schedule("cosine", 10, lo=1e-4, hi=0.99)
    for t in range(11):
        assert s.alpha[t:].prod().item() == pytest.approx(s.alpha_bar[t].item(), abs=1e-12)


def test_entries_that_do_not_exist_are_nan() -> None:
    s = make_schedule("cosine", 3, lo=1e-4, hi=0.99)
    assert all(table[0].isnan() for table in (s.a, s.b, s.c, s.snr_gain))


@pytest.mark.parametrize(
    ("alpha_bar", "says"),
    [([0.1], "two entries"), ([0.5, 0.4], "increase"), ([0.2, 0.2], "increase"),
     ([0.0, 0.5], "inside"), ([0.5, 1.0], "inside")],
)  # fmt: skip
def test_bad_alpha_bar_is_refused(alpha_bar: list[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        schedule_from_alpha_bar(torch.tensor(alpha_bar, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "T", "lo", "hi", "says"),
    [("sine", 3, 0.1, 0.9, "unknown"), ("cosine", 0, 0.1, 0.9, "at least one"),
     ("cosine", 3, 0.9, 0.1, "rise"), ("linear", 3, 0.0, 0.9, "rise")],
)  # fmt: skip
def test_bad_arguments_are_refused(name: str, T: int, lo: float, hi: float, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_schedule(name, T, lo=lo, hi=hi)
