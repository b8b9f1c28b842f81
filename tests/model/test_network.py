import copy
from dataclasses import replace

import pytest
import torch

from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.model.init import init_block
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.model.readout import init_readout, readout_logits
from noprop_dist.model.registry import make_block
from noprop_dist.model.spec import ModelSpec

SPEC = ModelSpec(
    block="conv",
    num_blocks=3,
    num_classes=10,
    embed_dim=10,
    sample_shape=(1, 8, 8),
    embedding_type="one-hot",
    schedule="cosine",
    alpha_bar_min=1e-4,
    alpha_bar_max=0.99,
    readout="softmax",
    dropout=0.2,
)


def parts(
    spec: ModelSpec = SPEC,
) -> tuple[dict[int, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    blocks = {
        t: init_block(make_block(spec, t), torch.Generator().manual_seed(t)).state_dict()
        for t in range(1, spec.num_blocks + 1)
    }
    w = one_hot_embedding(10)
    weight, bias = init_readout(w)
    return blocks, {"class_embed": w, "readout_weight": weight, "readout_bias": bias}


def network(spec: ModelSpec = SPEC) -> NoPropNetwork:
    return NoPropNetwork.assemble(spec, *parts(spec))


def test_what_is_done_to_a_network_changes_no_snapshot() -> None:
    spec = replace(SPEC, dropout=0.0)
    blocks, shared = parts(spec)
    before = copy.deepcopy((blocks, shared))
    net = NoPropNetwork.assemble(spec, blocks, shared).train()
    net.trace(torch.randn(5, 1, 8, 8), [torch.Generator().manual_seed(0)])
    moved = net.block(1).state_dict()
    assert any(not torch.equal(moved[name], v) for name, v in blocks[1].items())  # batch norm's
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.zero_()
    for there, was in ((shared, before[1]), *((blocks[t], before[0][t]) for t in blocks)):
        for name, tensor in there.items():
            assert torch.equal(tensor, was[name]), name


def test_inference_is_equation_3_step_by_step() -> None:
    net, x = network(), torch.randn(5, 1, 8, 8)
    (trace,) = net.trace(x, [torch.Generator().manual_seed(0)], keep_z=True)
    draw = torch.Generator().manual_seed(0)
    schedule = SPEC.make_schedule()
    z = torch.randn(5, 10, generator=draw)
    for t in range(1, 4):
        noise = torch.randn(5, 10, generator=draw)
        u_hat = net.block(t)(z, x).softmax(dim=1) @ net.class_embed
        a, b, c = (float(table[t]) for table in (schedule.a, schedule.b, schedule.c))
        z = a * u_hat + b * z + c**0.5 * noise
        torch.testing.assert_close(trace.z[t], z, atol=1e-5, rtol=0)
    torch.testing.assert_close(trace.z_T_logits, net.read(z), atol=1e-5, rtol=0)
    torch.testing.assert_close(trace.mean_softmax.sum(dim=1), torch.ones(5))


def test_one_generator_state_gives_one_answer() -> None:
    net, x = network(), torch.randn(5, 1, 8, 8)
    draws = [torch.Generator().manual_seed(seed) for seed in (7, 8, 7)]
    first, other, alike = net.trace(x, draws, keep_z=True)
    (alone,) = net.trace(x, [torch.Generator().manual_seed(7)], keep_z=True)
    assert torch.equal(first.z, alike.z)
    assert torch.equal(first.z, alone.z)
    assert not torch.equal(first.z, other.z)


@pytest.mark.parametrize("block", ["conv", "resnet18"])
def test_weights_that_are_cast_once_give_the_same_bits(block: str) -> None:
    spec = replace(SPEC, block=block)
    net, again = (NoPropNetwork.assemble(spec, *parts(spec), precision="bf16") for _ in range(2))
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    said, and_again = (
        n.trace(x, [torch.Generator().manual_seed(7)], keep_z=True)[0]
        for n in (net, again.cast_once())
    )
    assert torch.equal(said.z, and_again.z)
    assert torch.equal(said.block_logits, and_again.block_logits)
    kept, cast = (sum(v.nbytes for v in n.state_dict().values()) for n in (net, again))
    assert cast < 0.6 * kept


@pytest.mark.parametrize("t", [0, 4])
def test_t_outside_the_paper_s_range_is_refused(t: int) -> None:
    with pytest.raises(IndexError, match="from 1 to 3"):
        network().block(t)


def test_spec_survives_json() -> None:
    assert ModelSpec.from_dict(SPEC.to_dict()) == SPEC


def test_fresh_readout_names_the_nearest_class() -> None:
    w = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    weight, bias = init_readout(w)
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    logits = readout_logits(z, weight, bias, w, kind="softmax")
    assert torch.equal(logits.argmax(dim=1), torch.cdist(z, w).argmin(dim=1))


def test_radial_readout_is_a_posterior_of_normals() -> None:
    """Eq. 15-16 against torch.distributions, with equal priors."""
    generator = torch.Generator().manual_seed(0)
    w, z = torch.randn(4, 3, generator=generator), torch.randn(5, 3, generator=generator)
    weight, bias = torch.randn(4, 3, generator=generator), torch.zeros(4)
    logits = readout_logits(z, weight, bias, w, kind="radial")
    point = (z @ weight.T).softmax(dim=1) @ w
    density = torch.stack(
        [torch.distributions.Normal(k, 1.0).log_prob(point).sum(dim=1) for k in w], dim=1
    )
    torch.testing.assert_close(logits.softmax(1), density.softmax(1), atol=1e-5, rtol=0)


def test_unknown_readout_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown readout"):
        network(replace(SPEC, readout="tree")).trace(torch.randn(2, 1, 8, 8), [torch.Generator()])
