"""The back-propagated twin against its equations, written out by hand (eq. 17-19)."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from noprop_dist.maths.embedding import learned_embedding, one_hot_embedding
from noprop_dist.model.spec import ModelSpec
from noprop_dist.model.twin import TwinNetwork

K, D, T, B = 5, 8, 3, 16


def network(embedding_type: str = "one-hot", num_blocks: int = T, seed: int = 0) -> TwinNetwork:
    dim = {"one-hot": K, "learned": D, "prototype": 16}[embedding_type]
    spec = ModelSpec(
        block="conv",
        num_blocks=num_blocks,
        num_classes=K,
        embed_dim=dim,
        sample_shape=(1, 4, 4),
        embedding_type=embedding_type,
        schedule="cosine",
        alpha_bar_min=1e-4,
        alpha_bar_max=0.99,
        readout="softmax",
        dropout=0.2,
    )
    generator = torch.Generator().manual_seed(1)
    w = one_hot_embedding(K) if dim == K else learned_embedding(K, dim, generator)
    return TwinNetwork(spec, seed, w)


def batch(net: TwinNetwork, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(B, 1, 4, 4, generator=generator).to(memory_format=torch.channels_last)
    z_0 = torch.randn(B, net.spec.embed_dim, generator=generator)
    return x, z_0, torch.arange(B) % K


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned", "prototype"])
def test_the_module_computes_the_equations(generator: torch.Generator, embedding_type: str) -> None:
    net = network(embedding_type).eval()
    with torch.no_grad():
        net.w.copy_(torch.tensor([0.3, -0.2, 1.5]))  # tanh may be negative too
    x, z_0, _ = batch(net, generator)
    z = z_0
    for t in (1, 2, 3):
        alpha = torch.tanh(net.w[t - 1])
        u_hat = torch.softmax(net.blocks[t - 1](z, x), dim=1) @ net.class_embed
        z = (1 - alpha) * z + alpha * u_hat
    torch.testing.assert_close(net.chain(x, z_0), z)
    torch.testing.assert_close(net(x, z_0), z @ net.readout_weight.T + net.readout_bias)


def test_z_T_starts_as_the_mean_of_z_0_and_what_the_blocks_expect() -> None:  # noqa: N802
    net = network()
    alpha = net.alpha().detach()
    assert float((1 - alpha).prod()) == pytest.approx(1 / (T + 1))
    later = [(1 - alpha[t:]).prod() for t in range(1, T + 1)]
    shares = [float(a * rest) for a, rest in zip(alpha, later, strict=True)]
    assert shares == pytest.approx([1 / (T + 1)] * T)


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned", "prototype"])
def test_the_loss_at_the_end_reaches_every_parameter(
    generator: torch.Generator, embedding_type: str
) -> None:
    net = network(embedding_type).train()
    x, z_0, y = batch(net, generator)
    F.cross_entropy(net(x, z_0, generator), y).backward()
    trained = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
    assert [k for k, grad in trained.items() if grad is None] == []
    for t in range(T):
        grads = [g for name, g in trained.items() if name.startswith(f"blocks.{t}.")]
        assert any(float(g.abs().max()) > 0 for g in grads if g is not None)
    assert ("class_embed" in trained) == (embedding_type != "one-hot")


def test_answers_do_not_depend_on_labels_or_on_the_rest_of_the_batch(
    generator: torch.Generator,
) -> None:
    """The network has no way to take a label; in evaluation no sample sees another."""
    net = network().eval()
    x, z_0, _ = batch(net, generator)
    order = torch.randperm(B, generator=generator)
    torch.testing.assert_close(net(x[order], z_0[order]), net(x, z_0)[order])


def test_blocks_start_as_those_of_a_run_of_the_same_seed() -> None:
    first, again, other = network(), network(), network(seed=1)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.blocks[0].head[0].weight, other.blocks[0].head[0].weight)


def test_the_twin_learns_what_it_is_shown(generator: torch.Generator) -> None:
    net = network(num_blocks=2).train()
    x, z_0, y = batch(net, generator)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(net(x, z_0, generator), y).backward()
        optimizer.step()
    assert float((net(x, z_0, generator).argmax(dim=1) == y).float().mean()) > 0.9
