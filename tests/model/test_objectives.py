"""What blocks learn: what they see of a label, their loss, and what inference makes of them."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.maths.noise_ranges import SIGMA_MAX, SIGMA_MIN, time_of
from noprop_dist.model.intervals import Intervals
from noprop_dist.model.registry import make_objective
from noprop_dist.model.spec import ModelSpec

SPEC = ModelSpec("conv", 4, 10, 10, (1, 8, 8), "one-hot", "cosine", 1e-4, 0.99, "softmax", 0.0)
OF_INTERVALS = ("ct", "fm", "ranges")
W = one_hot_embedding(10)


def made(name: str, **changes: object) -> Intervals:
    objective = make_objective(replace(SPEC, objective=name, **changes))  # type: ignore[arg-type]
    assert isinstance(objective, Intervals)
    return objective


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def knows(z: Tensor, level: Tensor | None) -> Tensor:
    """A block that is sure of class 3."""
    return torch.full((len(z), 10), -50.0).index_fill_(1, torch.tensor([3]), 50.0)


@pytest.mark.parametrize("name", OF_INTERVALS)
def test_a_block_s_z_has_the_marginal_of_the_level_that_it_is_told(name: str) -> None:
    objective = made(name)
    for t in (1, 3):
        z, level = objective.noised(t, W[torch.zeros(100_000, dtype=torch.int64)], draw())
        assert level is not None
        first, last = objective.told_levels[t - 1 : t + 1]
        assert min(first, last) - 1e-5 <= level.min()
        assert level.max() <= max(first, last) + 1e-5
        # Where few levels lie together their marginal is that of one.
        near = level.argsort()[40_000:60_000]
        middle = float(level[near].mean())
        time = time_of(4 * middle) if name == "ranges" else middle
        m, s = objective.marginal(torch.tensor(time).double())
        m, s = (float(objective.seen(scale)) for scale in (m, s))
        assert z[near, 0].mean().item() == pytest.approx(m, abs=0.03)
        assert z[near, 1:].std().item() == pytest.approx(s, rel=0.04)


def test_ranges_run_from_sigma_max_to_sigma_min_with_unit_variance() -> None:
    objective = made("ranges")
    sigmas = [s / m for m, s in objective.levels]
    assert (sigmas[0], sigmas[-1]) == pytest.approx((SIGMA_MAX, SIGMA_MIN), rel=1e-6)
    for m, s in objective.levels:
        seen = objective.seen(torch.tensor([m, s])).double()
        assert float(seen[0] ** 2 / 10 + seen[1] ** 2) == pytest.approx(1)


@pytest.mark.parametrize("name", OF_INTERVALS)
def test_an_overlap_widens_an_interval_on_both_sides(name: str) -> None:
    plain, wide = made(name), made(name, overlap=0.1)
    assert plain.reach(2) == pytest.approx((0.25, 0.5))
    assert (wide.reach(1)[0], wide.reach(4)[1]) == pytest.approx((0, 1), abs=1e-9)

    def measure(objective: Intervals) -> list[float]:  # in what an interval's width is measured
        times = torch.tensor(objective.reach(2)).double()
        return (objective.told(times) if name == "ranges" else times).tolist()

    (a, b), (c, d) = measure(plain), measure(wide)
    assert (a - c, d - b) == pytest.approx((0.1 * (b - a),) * 2)


@pytest.mark.parametrize("name", OF_INTERVALS)
@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_sure_block_ends_at_its_class(name: str, solver: str) -> None:
    objective = made(name, steps_per_block=3, solver=solver)
    z = objective.begin(torch.randn(6, 10, generator=draw()))
    for t in range(1, 5):
        z, logits = objective.step(t, z, W, knows, lambda: pytest.fail("it draws no noise"))
        assert logits.argmax(dim=1).tolist() == [3] * 6
    m, s = objective.levels[-1]
    assert (z / m - W[3]).abs().max().item() < 5 * s / m + 1e-5


@pytest.mark.parametrize("name", OF_INTERVALS)
def test_steps_of_one_block_are_those_of_as_many_blocks(name: str) -> None:
    """One block for all times is the papers' own; nothing else depends on where time is cut."""

    def ask(z: Tensor, level: Tensor | None) -> Tensor:
        assert level is not None
        return 3 * z + level[:, None]

    one, four = made(name, num_blocks=1, steps_per_block=4), made(name)
    start = one.begin(torch.randn(6, 10, generator=draw()))
    z, answer = one.step(1, start, W, ask, draw)
    each, said = start, []
    for t in range(1, 5):
        each, logits = four.step(t, each, W, ask, draw)
        said.append(logits.softmax(dim=1))
    torch.testing.assert_close(z, each)
    torch.testing.assert_close(answer.softmax(dim=1), torch.stack(said).mean(dim=0))


@pytest.mark.parametrize("name", OF_INTERVALS)
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_with_the_best_answers_z_keeps_its_quantile(name: str, solver: str, order: int) -> None:
    """Of u = 1 or -1 the best answer is known, and in one dimension the ODE moves no quantile."""
    w, z_0 = torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[-1.3], [0.2], [0.9]]).double()

    def quantile(z: Tensor, m: float, s: float) -> Tensor:
        return (torch.special.ndtr((z - m * w.T) / s)).mean(dim=1)

    def error(steps: int) -> float:
        changes = {"num_classes": 2, "embed_dim": 1, "num_blocks": 2}
        objective = made(name, steps_per_block=steps, solver=solver, **changes)

        def best(seen: Tensor, level: Tensor | None) -> Tensor:
            assert level is not None
            m, s = objective.levels[objective.told_levels.index(float(level[0]))]
            return seen * m * w.T / s**2  # ln p(z | u), but for what is the same of both

        z = objective.begin(z_0)
        reached, _ = objective.step(1, z, w, best, lambda: pytest.fail("it draws no noise"))
        wanted = quantile(z, *objective.levels[0])
        return float((quantile(reached, *objective.levels[steps]) - wanted).abs().max())

    assert error(100) < 0.02
    assert error(100) / error(200) == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize("name", ["dt", *OF_INTERVALS, "none"])
def test_cross_entropy_of_a_block_weighs_eta(name: str) -> None:
    objective = make_objective(replace(SPEC, objective=name, block_loss="ce"))
    y = torch.arange(10)

    def lost(ask: object, eta: float) -> float:
        return float(objective.loss(2, y, W, ask, lambda z: z, eta=eta, generator=draw()).loss)  # type: ignore[arg-type]

    wanted = 0.3 * cross_entropy(knows(W, None), y)
    assert lost(knows, 0.4) - lost(knows, 0.1) == pytest.approx(float(wanted), rel=1e-4)
    assert objective.weight(2, 0.4) == 0.4


@pytest.mark.parametrize("name", ["dt", *OF_INTERVALS])
def test_squared_error_weighs_what_gradients_are_clipped_by(name: str) -> None:
    objective = make_objective(replace(SPEC, objective=name, block_loss="mse"))
    y = torch.zeros(50_000, dtype=torch.int64)

    def lost(eta: float) -> float:
        return float(objective.loss(2, y, W, knows, lambda z: z, eta=eta, generator=draw()).loss)

    # ||W_3 - W_0||^2 is 2 wherever z lies, so that the loss is the mean weight.
    assert lost(1.0) - lost(0.5) == pytest.approx(objective.weight(2, 1.0), rel=0.02)


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_continuous_time_weighs_an_interval_as_discrete_time_weighs_its_block(name: str) -> None:
    """T/2 (SNR(t) - SNR(t-1)) is the mean of SNR' / 2 between (t-1)/T and t/T."""
    ct = made("ct", schedule=name)
    dt = make_objective(replace(SPEC, objective="dt", schedule=name))
    for t in range(1, 5):
        times = torch.linspace(*ct.reach(t), 100_001, dtype=torch.float64)
        assert float(ct.error_weight(times).mean()) == pytest.approx(dt.weight(t, 1.0), rel=1e-3)


def test_flow_matching_weighs_the_error_of_the_velocity() -> None:
    """||v_hat - (u - noise)||^2 where v_hat = (u_hat - z) / (1 - time), up to time 0.95."""
    fm, time = made("fm"), torch.linspace(0, 0.95, 20, dtype=torch.float64)
    u, u_hat, noise = torch.randn(3, 20, 10, generator=draw(), dtype=torch.float64)
    m, s = fm.marginal(time)
    z = m[:, None] * u + s[:, None] * noise
    velocity = (u_hat - z) / (1 - time)[:, None]
    wanted = (velocity - (u - noise)).square().sum(dim=1)
    error = fm.error_weight(time) * (u_hat - u).square().sum(dim=1)
    torch.testing.assert_close(error, wanted)
    assert float(fm.error_weight(torch.ones(()))) == pytest.approx(1 / 0.05**2)


def test_without_z_a_block_sees_noise_alone_and_z_is_the_mean_of_what_blocks_expect() -> None:
    objective = make_objective(replace(SPEC, objective="none"))
    seen, level = objective.noised(1, 100 * W, draw())
    assert level is None
    assert seen.abs().max() < 6
    z = objective.begin(torch.randn(2, 10, generator=draw()))
    said = []
    for t in range(1, 5):
        logits = torch.randn(2, 10, generator=torch.Generator().manual_seed(t))
        z, _ = objective.step(t, z, W, lambda *_, at=logits: at, lambda: torch.randn(2, 10))
        said.append(logits.softmax(dim=1))
    torch.testing.assert_close(z, torch.stack(said).mean(dim=0))
    assert math.isclose(float(z.sum()), 2, rel_tol=1e-5)
