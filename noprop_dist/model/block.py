"""One NoProp block: (z_{t-1}, x) -> logits over the classes (Fig. 6, discrete time).

B batch, K classes, D embedding width, C H W image axes, F features of a vector sample.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from noprop_dist.model.dropout import KeyedDropout

WIDTH = 256  # features of the image path, of the label path and of the first fused layer
DROPOUT = 0.2
LARGE = 64  # pixels of a side above which images are halved first


class ConvPath(nn.Module):
    """The image path of Fig. 6: three 3x3 convolutions, then linear 256 and batch norm.

    Args:
        shape: (C, H, W) of the input; H and W at least 4.
        dropout: probability.
        pooled: for images of any size, its linear layer no wider than for one of 32 pixels:
            convolutions of stride 2 halve the image until no side is above LARGE, and what comes
            to the linear layer is averaged to at most 8x8.
    """

    def __init__(
        self, shape: tuple[int, int, int], dropout: float, *, pooled: bool = False
    ) -> None:
        super().__init__()
        channels, height, width = shape
        self.halvings = nn.ModuleList()
        while pooled and max(height, width) > LARGE:
            self.halvings.append(nn.Conv2d(channels, 32, 3, stride=2, padding=1))
            channels, height, width = 32, -(-height // 2), -(-width // 2)
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 128, 3, padding=1)
        self.drop = KeyedDropout(dropout)
        height, width = height // 4, width // 4
        self.pool = (-(-height // 8), -(-width // 8)) if pooled else (1, 1)
        self.linear = nn.Linear(128 * (height // self.pool[0]) * (width // self.pool[1]), WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float -> (B, 256)."""
        for halving in self.halvings:
            x = F.relu_(halving(x))
        # relu(maxpool(v)) = maxpool(relu(v)), also in the gradient, on a quarter of the elements.
        h = self.drop(F.relu_(F.max_pool2d(self.conv1(x), 2)), generator)
        h = self.drop(F.relu_(self.conv2(h)), generator)
        h = self.drop(F.relu_(F.max_pool2d(self.conv3(h), 2)), generator)
        if self.pool != (1, 1):
            h = F.avg_pool2d(h, self.pool)
        # Channels last in memory: flattening in that order copies nothing.
        out: Tensor = self.norm(self.linear(h.permute(0, 2, 3, 1).flatten(1)))
        return out


class VectorPath(nn.Module):
    """Features made elsewhere: linear 256 - batch norm - ReLU - dropout - linear 256 - batch norm.

    Args:
        num_features: F.
        dropout: probability.
    """

    def __init__(self, num_features: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(num_features, WIDTH)
        self.norm1 = nn.BatchNorm1d(WIDTH)
        self.drop = KeyedDropout(dropout)
        self.linear2 = nn.Linear(WIDTH, WIDTH)
        self.norm2 = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, F) float -> (B, 256)."""
        h = self.drop(F.relu_(self.norm1(self.linear1(x))), generator)
        out: Tensor = self.norm2(self.linear2(h))
        return out


class ResNetPath(nn.Module):
    """torchvision's ResNet-18 up to 256 features and batch norm.

    Small images (H, W up to LARGE) get the usual stem for them: one 3x3 convolution of stride 1 and
    no max-pool.

    Args:
        shape: (C, H, W) of the input.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        from torchvision.models import resnet18  # a second of import, for this path alone

        channels, height, width = shape
        small = max(height, width) <= LARGE
        self.net = resnet18(weights=None, num_classes=WIDTH)
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        self.net.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
        if small:
            self.net.maxpool = nn.Identity()
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, C, H, W) float -> (B, 256); draws nothing."""
        out: Tensor = self.norm(self.net(x))
        return out


class LabelPath(nn.Module):
    """The label path of Fig. 6: linear 256 - batch norm - ReLU, then a skip around two more.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.Linear(dim, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())
        self.skipped = nn.Sequential(
            nn.Linear(WIDTH, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.BatchNorm1d(WIDTH),
        )

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, D) float -> (B, 256); draws nothing."""
        h: Tensor = self.enter(z)
        out: Tensor = h + self.skipped(h)
        return out


class Block(nn.Module):
    """Block t: an image path and a label path, concatenated and mapped to K logits.

    Args:
        image_path: x -> (B, 256).
        label_path: z -> (B, 256).
        num_classes: K.
        label_shape: z's shape for the label path where it is an image, else None.
    """

    def __init__(
        self,
        image_path: nn.Module,
        label_path: nn.Module,
        num_classes: int,
        label_shape: tuple[int, ...] | None,
    ) -> None:
        super().__init__()
        self.image_path = image_path
        self.label_path = label_path
        self.label_shape = label_shape
        self.head = nn.Sequential(
            nn.Linear(2 * WIDTH, WIDTH),
            nn.BatchNorm1d(WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH // 2),
            nn.BatchNorm1d(WIDTH // 2),
            nn.ReLU(),
            nn.Linear(WIDTH // 2, num_classes),
        )

    def forward(self, z: Tensor, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Logits (B, K) from z_{t-1} (B, D) and the normalised sample x (B, C, H, W) or (B, F).

        Args:
            z: float32.
            x: float32, images in channels-last memory.
            generator: draws the dropout masks in training mode, on the tensors' device.
        """
        return self.classify(z, self.image_path(x, generator), generator)

    def classify(
        self, z: Tensor, features: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Logits (B, K) from z_{t-1} (B, D) and what the image path made of x, (B, 256).

        The image path does not see z: at inference its features serve every noise draw.
        """
        if self.label_shape is not None:
            z = z.view(-1, *self.label_shape).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(torch.cat([features, self.label_path(z, generator)], dim=1))
        return logits


def _image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise ValueError(f"this block needs images of at least 4x4 as (C, H, W), got {shape}")
    return shape[0], shape[1], shape[2]


def _vector_path(shape: tuple[int, ...], dropout: float) -> nn.Module:
    if len(shape) != 1:
        raise ValueError(f"the mlp block needs vectors as (F,), got {shape}")
    return VectorPath(shape[0], dropout)


PATHS: dict[str, Callable[[tuple[int, ...], float], nn.Module]] = {
    "conv": lambda shape, dropout: ConvPath(_image_shape(shape), dropout),
    "conv-pooled": lambda shape, dropout: ConvPath(_image_shape(shape), dropout, pooled=True),
    "mlp": _vector_path,
    "resnet18": lambda shape, _: ResNetPath(_image_shape(shape)),
}


def make_block(
    name: str,
    *,
    sample_shape: tuple[int, ...],
    num_classes: int,
    embed_dim: int,
    label_is_sample: bool,
    dropout: float = DROPOUT,
) -> Block:
    """A block with uninitialised parameters on the meta device; see ``init_block``.

    Args:
        name: "conv" (Fig. 6), "conv-pooled" (the same for large images), "mlp" (vector features)
            or "resnet18".
        sample_shape: (C, H, W) or (F,).
        num_classes: K.
        embed_dim: D.
        label_is_sample: z has the sample's shape and goes through the same kind of path as x
            (prototype embeddings).
        dropout: probability; "resnet18" has none.

    Raises:
        ValueError: unknown name, or a shape that the block cannot take.
    """
    if name not in PATHS:
        raise ValueError(f"unknown block {name!r}; known are {', '.join(PATHS)}")
    with torch.device("meta"):
        image_path = PATHS[name](sample_shape, dropout)
        label_path = PATHS[name](sample_shape, dropout) if label_is_sample else LabelPath(embed_dim)
        label_shape = sample_shape if label_is_sample and len(sample_shape) == 3 else None
        return Block(image_path, label_path, num_classes, label_shape)


def init_block(block: Block, generator: torch.Generator) -> Block:
    """Materialise a block on the CPU with PyTorch's default initialisation, drawn from a key.

    PyTorch's own constructors draw from one global generator, which no two threads can share and
    stay reproducible.
    """
    block.to_empty(device="cpu")
    for module in block.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()  # ones and zeros: no draw
    return block.to(memory_format=torch.channels_last)
