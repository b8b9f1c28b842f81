from pathlib import Path

import pytest
import torch
from torch import nn

from noprop_dist import train
from noprop_dist.errors import UserError
from noprop_dist.model.block import Block, BlockShape
from noprop_dist.model.dropout import KeyedDropout
from noprop_dist.model.init import init_block
from noprop_dist.model.registry import BLOCKS, make_block
from noprop_dist.model.spec import ModelSpec
from runs import small


def block(
    name: str,
    shape: tuple[int, ...],
    *,
    dim: int = 10,
    image_label: bool = False,
    dropout: float = 0.2,
    options: dict[str, int] | None = None,
) -> Block:
    spec = ModelSpec(
        block=name, num_blocks=1, num_classes=10, embed_dim=dim, sample_shape=shape,
        embedding_type="prototype" if image_label else "one-hot", schedule="cosine",
        alpha_bar_min=1e-4, alpha_bar_max=0.99, readout="softmax", dropout=dropout,
        block_options=tuple((options or {}).items()),
    )  # fmt: skip
    return init_block(make_block(spec, 1), torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("conv", (1, 8, 8)),
        ("conv", (3, 9, 5)),
        ("mlp", (20,)),
        ("resnet18", (3, 16, 16)),
        ("conv-pooled", (3, 130, 67)),
        ("conv-pooled", (1, 8, 8)),
        ("resnet9", (1, 9, 14)),
        ("vit-tiny", (3, 30, 17)),
    ],
)
@pytest.mark.parametrize("image_label", [False, True])
def test_blocks_map_z_and_x_to_logits(name: str, shape: tuple[int, ...], image_label: bool) -> None:
    dim = torch.Size(shape).numel() if image_label else 7
    made = block(name, shape, dim=dim, image_label=image_label)
    logits = made(torch.randn(4, dim), torch.randn(4, *shape), torch.Generator())
    assert logits.shape == (4, 10)
    logits.sum().backward()
    assert all(p.grad is not None for p in made.parameters())


@pytest.mark.parametrize(
    ("shape", "millions"), [((3, 32, 32), 2.5), ((1, 28, 28), 2.0)], ids=["cifar", "mnist"]
)
def test_paper_block_has_the_paper_s_size(shape: tuple[int, ...], millions: float) -> None:
    count = sum(p.numel() for p in block("conv", shape).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("name", ["resnet18", "resnet9", "vit-tiny"])
def test_a_told_noise_level_changes_the_answer_once_it_is_learned(name: str) -> None:
    shape = BlockShape((1, 8, 8), 10, 10, label_is_sample=False, dropout=0.0, told_level=True)
    with torch.device("meta"):
        made = BLOCKS[name](shape)
    draw = torch.Generator().manual_seed(0)
    init_block(made, draw)
    z, x = torch.randn(4, 10, generator=draw), torch.randn(4, 1, 8, 8, generator=draw)
    steps = torch.optim.SGD(made.parameters(), lr=0.1)
    for _ in range(2):  # what modulates starts at zero
        made(z, x, draw, torch.linspace(0, 1, 4)).square().mean().backward()
        steps.step()
    made.eval()
    clear, noisy = (made(z, x, draw, torch.full((4,), level)) for level in (0.0, 0.7))
    assert (clear - noisy).abs().max() > 1e-6


def test_resnet_18_learns_where_it_is_told_the_noise_level(tmp_path: Path) -> None:
    config = small(
        tmp_path, block="resnet18", objective="fm", num_blocks=1, max_train_images=50, epochs=1
    )
    spec = train(config).network.network.spec
    assert (spec.block, spec.objective) == ("resnet18", "fm")


def test_a_vision_transformer_takes_its_size_from_options() -> None:
    sizes = {"patch": 4, "depth": 1, "width": 24, "heads": 2}
    made = block("vit-small", (1, 8, 8), options=sizes)
    assert sum(p.numel() for p in made.parameters()) < 20_000
    for wrong, said in {
        "patch": "patch must be a power of two", "deep": "the block vit-small takes the options",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=said):
            block("vit-small", (1, 8, 8), options={wrong: 3})


def test_image_path_is_that_of_figure_6() -> None:
    """Pooling before ReLU and flattening channels last change nothing but speed."""
    path = block("conv", (1, 8, 8)).image_path.eval()
    x = torch.randn(4, 1, 8, 8)
    h = nn.functional.max_pool2d(path.conv1(x).relu(), 2)
    h = path.conv2(h).relu()
    h = nn.functional.max_pool2d(path.conv3(h).relu(), 2)
    expected = path.norm(path.linear(h.permute(0, 2, 3, 1).flatten(1)))
    torch.testing.assert_close(path(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["conv", "mlp"])
def test_dropout_is_the_block_s_to_choose(name: str) -> None:
    shape = (1, 8, 8) if name == "conv" else (20,)
    x, share = torch.randn(64, *shape), {}
    for p in (0.0, 0.5):
        path = block(name, shape, dropout=p).image_path
        seen: list[torch.Tensor] = []
        path.drop.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out == 0))
        path(x, torch.Generator().manual_seed(0))
        share[p] = seen[0].float().mean().item()
    # Of what ReLU has left, half; with no dropout ReLU's zeros alone.
    assert 1 - share[0.5] == pytest.approx((1 - share[0.0]) / 2, abs=0.03)


def test_initialisation_depends_on_its_generator_alone() -> None:
    torch.manual_seed(1)
    first = block("conv", (1, 8, 8)).state_dict()
    torch.manual_seed(2)
    second = block("conv", (1, 8, 8)).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [("dense", (1, 8, 8), "unknown block"), ("conv", (5,), "images"), ("conv", (1, 3, 8), "4x4"),
     ("mlp", (1, 8, 8), "vectors")],
)  # fmt: skip
def test_unfit_shapes_are_refused(name: str, shape: tuple[int, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        block(name, shape)


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    drop = KeyedDropout(0.2).train()
    out = drop(torch.ones(400, 1000), torch.Generator().manual_seed(0))
    assert (out == 0).float().mean().item() == pytest.approx(51 / 256, abs=0.003)
    assert out.mean().item() == pytest.approx(1, abs=0.003)


def test_dropout_masks_depend_on_the_key_and_not_on_the_layout() -> None:
    drop, x = KeyedDropout(0.5).train(), torch.ones(2, 3, 4, 5)

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    assert torch.equal(drop(x, seeded(0)), drop(x, seeded(0)))
    assert not torch.equal(drop(x, seeded(0)), drop(x, seeded(1)))
    nhwc = drop(x.contiguous(memory_format=torch.channels_last), seeded(0))
    assert nhwc.is_contiguous(memory_format=torch.channels_last)


def test_dropout_does_nothing_in_evaluation(generator: torch.Generator) -> None:
    x = torch.randn(3, 4, generator=generator)
    assert KeyedDropout(0.2).eval()(x) is x


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5])
def test_dropout_gradient_is_its_mask(p: float) -> None:
    drop = KeyedDropout(p).train()
    x = torch.ones(50, requires_grad=True)
    out = drop(x, torch.Generator().manual_seed(0))
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
