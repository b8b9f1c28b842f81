import math

import pytest
import torch
from torch import Tensor

from noprop_dist.maths.loss import denoising_loss, denoising_weight, prior_kl, readout_loss
from noprop_dist.maths.process import denoise_step, embed_label, expected_embedding, noise_label
from noprop_dist.maths.schedule import make_schedule


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_perfect_prediction_has_no_denoising_loss() -> None:
    u = normal(4, 3)
    assert denoising_loss(u, u) == 0


def test_denoising_loss_sums_over_d_and_averages_over_b() -> None:
    assert denoising_loss(torch.full((4, 3), 2.0), torch.zeros(4, 3)) == 12


def test_denoising_gradient_matches_finite_differences() -> None:
    w, y = normal(5, 3), torch.tensor([0, 2, 4])

    def loss(logits: Tensor, w: Tensor) -> Tensor:
        return denoising_loss(expected_embedding(logits, w), w[y])

    logits = normal(3, 5).requires_grad_()
    assert torch.autograd.gradcheck(loss, (logits, w.requires_grad_()))


def test_prior_kl_is_that_of_two_normals() -> None:
    u, alpha_bar_0 = normal(6, 3), 0.3
    q = torch.distributions.Normal(math.sqrt(alpha_bar_0) * u, math.sqrt(1 - alpha_bar_0))
    p = torch.distributions.Normal(torch.zeros_like(u), torch.ones_like(u))
    expected = torch.distributions.kl_divergence(q, p).sum(dim=1).mean()
    torch.testing.assert_close(prior_kl(u, alpha_bar_0), expected, atol=1e-12, rtol=0)


def test_prior_kl_gradient_matches_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda u: prior_kl(u, 0.3), (normal(4, 3).requires_grad_(),))


def test_readout_loss_of_even_logits_is_log_k() -> None:
    loss = readout_loss(torch.zeros(7, 5), torch.arange(7) % 5)
    assert loss.item() == pytest.approx(math.log(5), abs=1e-6)


def test_a_mixed_label_is_between_those_that_it_mixes() -> None:
    w = normal(4, 3).float()
    p = torch.tensor([[0.0, 1, 0, 0], [0.25, 0, 0.75, 0]])
    u = embed_label(p, w)
    torch.testing.assert_close(u[0], embed_label(torch.tensor([1]), w)[0])
    torch.testing.assert_close(u[1], 0.25 * w[0] + 0.75 * w[2])
    # Cross-entropy is linear in the label.
    logits = normal(1, 4).float()
    mixed = 0.25 * readout_loss(logits, torch.tensor([0])) + 0.75 * readout_loss(
        logits, torch.tensor([2])
    )
    torch.testing.assert_close(readout_loss(logits, p[1:]), mixed)


def test_a_weight_is_as_many_samples() -> None:
    """Of three samples with the weights 2, 0, 1 the loss is that of the first, twice, and third."""
    weight, rows = torch.tensor([2.0, 0, 1]), torch.tensor([0, 0, 2])
    u, u_hat, y = normal(3, 4).float(), 2 * normal(3, 4).float(), torch.tensor([1, 3, 0])
    for weighted, repeated in (
        (denoising_loss(u_hat, u, weight), denoising_loss(u_hat[rows], u[rows])),
        (readout_loss(u_hat, y, weight), readout_loss(u_hat[rows], y[rows])),
        (prior_kl(u, 0.3, weight), prior_kl(u[rows], 0.3)),
    ):
        torch.testing.assert_close(weighted, repeated)


def test_denoising_weight_is_half_t_eta_snr_gain() -> None:
    assert denoising_weight(num_blocks=10, eta=0.1, snr_gain=3.0) == pytest.approx(1.5)


def test_noised_label_has_the_mean_and_variance_of_q() -> None:
    u = torch.full((200_000, 1), 2.0)
    noise = torch.randn(u.shape, generator=torch.Generator().manual_seed(0))
    z = noise_label(u, 0.36, noise)
    assert z.mean().item() == pytest.approx(0.6 * 2, abs=0.01)
    assert z.var().item() == pytest.approx(0.64, abs=0.01)


def test_denoising_with_the_true_label_follows_q_at_every_t() -> None:
    """With u_hat = u the chain's marginals are q(z_t | y): eq. 3 and eq. 5 fit together."""
    s = make_schedule("cosine", 6, lo=1e-4, hi=0.99)
    g = torch.Generator().manual_seed(0)
    u = torch.full((100_000, 1), 1.5)
    z = noise_label(u, s.alpha_bar[0].item(), torch.randn(u.shape, generator=g))
    for t in range(1, 7):
        noise = torch.randn(u.shape, generator=g)
        z = denoise_step(z, u, noise, a=s.a[t].item(), b=s.b[t].item(), c=s.c[t].item())
        assert z.mean().item() == pytest.approx(1.5 * s.alpha_bar[t].sqrt().item(), abs=0.02)
        assert z.var().item() == pytest.approx(1 - s.alpha_bar[t].item(), abs=0.02)


def test_shapes_are_checked_where_tests_run() -> None:
    with pytest.raises(Exception, match="noise_label"):
        noise_label(torch.zeros(2, 3), 0.5, torch.zeros(2, 4))
