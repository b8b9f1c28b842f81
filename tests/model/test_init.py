"""Every value of a block is drawn from its key, or building the block says which is not."""

import pytest
import torch
from torch import Tensor, nn
from typing_extensions import override

from noprop_dist.errors import UserError
from noprop_dist.model.block import Block, BlockShape
from noprop_dist.model.init import init_block

SHAPE = BlockShape(
    sample=(6,), num_classes=3, embed_dim=3, label_is_sample=False, dropout=0.0
)  # fmt: skip


class Token(nn.Module):
    """A parameter and a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.empty(1, 4))
        self.register_buffer("places", torch.empty(4))


class KeyedToken(Token):
    def init_values(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.token, generator=generator)
        torch.arange(4, out=self.places)


def built(*parts: type[nn.Module] | nn.Module, seed: int = 0) -> Block:
    """A block that holds the parts, with its values."""

    class Parts(Block):
        def __init__(self, shape: BlockShape) -> None:
            super().__init__(shape)
            self.parts = nn.ModuleList(p if isinstance(p, nn.Module) else p() for p in parts)

        @override
        def classify(
            self,
            z: Tensor,
            features: Tensor,
            generator: torch.Generator | None = None,
            level: Tensor | None = None,
        ) -> Tensor:
            return z

    with torch.device("meta"):
        block = Parts(SHAPE)
    return init_block(block, torch.Generator().manual_seed(seed))


def on_meta(kind: type[nn.Module], *args: object, **options: object) -> nn.Module:
    with torch.device("meta"):
        return kind(*args, **options)


@pytest.mark.parametrize(
    ("kind", "args", "options"),
    [
        (nn.LayerNorm, (4,), {}),
        (nn.GroupNorm, (2, 4), {}),
        (nn.RMSNorm, (4,), {}),
        (nn.Embedding, (5, 4), {"padding_idx": 1}),
        (nn.MultiheadAttention, (4, 2), {"add_bias_kv": True}),
        (nn.MultiheadAttention, (4, 2), {"kdim": 3, "vdim": 5}),
        (nn.Conv1d, (2, 4, 3), {}),
        (nn.ConvTranspose2d, (2, 4, 3), {}),
        (nn.PReLU, (), {}),
        (KeyedToken, (), {}),
    ],
)
def test_values_are_those_that_pytorch_would_draw_and_of_the_key_alone(
    kind: type[nn.Module], args: tuple[object, ...], options: dict[str, object]
) -> None:
    def state(seed: int, world: int) -> dict[str, Tensor]:
        torch.manual_seed(world)
        torch.empty(10_000).fill_(world)  # what uninitialised memory may hold
        return built(on_meta(kind, *args, **options), seed=seed).parts[0].state_dict()

    first, again, other = state(0, 1), state(0, 2), state(1, 1)
    torch.manual_seed(0)
    stock = kind(*args, **options)
    own = stock.state_dict() if kind is not KeyedToken else first
    for name, values in first.items():
        assert torch.equal(values, again[name])
        spread = own[name].std() if own[name].numel() > 1 else torch.zeros(())
        if spread == 0 or name == "places":
            assert torch.equal(values, own[name])
        else:
            assert not torch.equal(values, other[name])
            assert values.std() == pytest.approx(float(spread), rel=0.6)


@pytest.mark.parametrize(
    ("part", "name"),
    [(Token, "parts.0.token"), (nn.LSTMCell, "parts.0.weight_ih"), (nn.Bilinear, "parts.0.weight")],
)
def test_a_value_that_nothing_draws_is_named(part: type[nn.Module], name: str) -> None:
    args = {nn.LSTMCell: (3, 4), nn.Bilinear: (2, 2, 2)}.get(part, ())
    with pytest.raises(
        UserError, match=f"{name} of the block Parts gets no value: {part.__name__}"
    ):
        built(on_meta(part, *args))


def test_a_buffer_that_no_snapshot_would_hold_is_named() -> None:
    class Lost(KeyedToken):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("places", torch.empty(4), persistent=False)

    with pytest.raises(UserError, match=r"parts.0.places of the block Parts is no part of its"):
        built(Lost)


def test_a_buffer_that_nothing_fills_is_named() -> None:
    class Half(KeyedToken):
        def init_values(self, generator: torch.Generator) -> None:
            nn.init.normal_(self.token, generator=generator)

    with pytest.raises(UserError, match=r"parts.0.places"):
        built(Half)


def test_what_holds_a_part_may_change_what_it_drew_and_ties_stay() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = nn.Linear(4, 4), nn.Linear(4, 4)
            self.out.weight = self.into.weight

        def init_values(self, generator: torch.Generator) -> None:
            nn.init.zeros_(self.out.bias)

    part = built(Tied).parts[0]
    assert part.out.weight is part.into.weight
    assert len(list(part.parameters())) == 3
    assert not part.out.bias.any()
    assert part.into.bias.all()
