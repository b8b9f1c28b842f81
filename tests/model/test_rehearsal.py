"""A block whose draws have no key is refused; one that the meta device cannot run is computed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from typing_extensions import override

from noprop_dist.errors import UserError
from noprop_dist.model import registry
from noprop_dist.model.block import Block, BlockShape, Takes
from noprop_dist.model.dropout import KeyedDropout
from noprop_dist.model.rehearsal import rehearse
from noprop_dist.model.spec import ModelSpec


class Plain(Block):
    takes = Takes("vectors")

    def __init__(self, shape: BlockShape) -> None:
        super().__init__(shape)
        self.linear = nn.Linear(shape.embed_dim, shape.num_classes)
        self.drop: nn.Module = nn.Identity()

    @override
    def classify(
        self,
        z: Tensor,
        features: Tensor,
        generator: torch.Generator | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        return self.linear(self.change(z))

    def change(self, z: Tensor) -> Tensor:
        return self.drop(z)


class OnlyOnACpu(Plain):
    def change(self, z: Tensor) -> Tensor:
        return z if z.sum().item() > 0 else -z


class Attention(Plain):
    def change(self, z: Tensor) -> Tensor:
        heads = z[:, None]
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.1)[:, 0]


def dropping(drop: nn.Module) -> type[Plain]:
    class Dropping(Plain):
        def __init__(self, shape: BlockShape) -> None:
            super().__init__(shape)
            self.drop = drop

    return Dropping


def spec_of(block: type[Block], monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    monkeypatch.setitem(registry.BLOCKS, "own", block)
    rehearse.cache_clear()
    return ModelSpec("own", 2, 3, 3, (5,), "one-hot", "cosine", 1e-4, 0.99, "softmax", 0.0)


@pytest.mark.parametrize(
    "block", [dropping(nn.Dropout(0.1)), Attention, dropping(nn.RReLU())], ids=lambda b: b.__name__
)
def test_draws_without_a_key_are_refused(
    block: type[Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"the block own or .* PyTorch's global generator .*Keyed"):
        rehearse(spec_of(block, monkeypatch), 8)


def test_a_dropout_of_nothing_is_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    without = rehearse(spec_of(Plain, monkeypatch), 8)
    assert rehearse(spec_of(dropping(nn.Dropout(0.0)), monkeypatch), 8) == without


def test_a_keyed_dropout_without_its_generator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    block = dropping(nn.Sequential(KeyedDropout(0.5)))
    with pytest.raises(TypeError, match=r"drop\(x, generator\), which nn\.Sequential does not"):
        rehearse(spec_of(block, monkeypatch), 8)


def test_a_block_that_meta_cannot_run_keeps_as_much_as_one_that_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed = rehearse(spec_of(Plain, monkeypatch), 64)
    monkeypatch.setattr("noprop_dist.model.rehearsal.LARGE", 0)
    there = rehearse(spec_of(Plain, monkeypatch), 64)
    here = rehearse(spec_of(OnlyOnACpu, monkeypatch), 64)
    assert computed == there == 64 * 3 * 4
    assert here == pytest.approx(there, rel=1)


@pytest.mark.parametrize(
    ("block", "shape"),
    [("conv", (1, 8, 8)), ("conv-pooled", (3, 64, 64)), ("resnet18", (3, 32, 32)), ("mlp", (20,))],
)
def test_few_samples_tell_what_a_batch_keeps(
    block: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModelSpec(block, 2, 3, 3, shape, "one-hot", "cosine", 1e-4, 0.99, "softmax", 0.2)
    computed = rehearse(spec, 128)
    rehearse.cache_clear()
    monkeypatch.setattr("noprop_dist.model.rehearsal.LARGE", 0)
    assert rehearse(spec, 128) == computed


def test_a_start_imports_no_compiler() -> None:
    code = (
        "import sys\n"
        "from runs import prepared\n"
        "from noprop_dist.model.rehearsal import rehearse\n"
        "job, _, _ = prepared()\n"
        "rehearse(job.spec, 32)\n"
        "assert not {'torch._dynamo', 'sympy', 'sklearn'} & set(sys.modules)\n"
    )
    path = os.pathsep.join(sys.path)
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parents[1]}{os.pathsep}{path}"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stderr
