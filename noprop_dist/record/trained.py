"""A trained network with what it needs to answer.

N samples, K classes.
"""

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from noprop_dist.data.normalise import Normalisation
from noprop_dist.data.shards import Array
from noprop_dist.errors import UserError
from noprop_dist.model.answering import UNFITTED, Answering
from noprop_dist.model.backbone import Backbone
from noprop_dist.model.network import NoPropNetwork, samples_at_once
from noprop_dist.record.portable import PortableNetwork


@dataclass(frozen=True)
class Prediction:
    """What the network says of N samples.

    Attributes:
        labels: int64 (N,), the likeliest class.
        probabilities: float32 (N, K).
        class_names: the K names, by label.
    """

    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class TrainedNetwork:
    """A network with what it needs to take raw samples.

    Attributes:
        network: the assembled blocks, on the device.
        normalisation: of the training split.
        class_names: K names.
        device: where it computes.
        data_sha256: of the rows that it was trained and validated on; empty where none is known.
        answering: what it answers by.
        backbone: makes the vectors of pictures, where something does.
    """

    network: NoPropNetwork
    normalisation: Normalisation
    class_names: tuple[str, ...]
    device: torch.device
    data_sha256: str = ""
    answering: Answering = UNFITTED
    backbone: Backbone | None = None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image or (F,) of a vector, as it is given."""
        spec = self.network.spec
        return spec.sample_shape if spec.backbone is None else spec.backbone.sample_shape

    def portable(self, draws: int) -> PortableNetwork:
        """The network as one module, as it computes; see there."""
        return PortableNetwork(
            self.computing, self.normalisation, draws, self.answering, self.backbone
        )

    @cached_property
    def computing(self) -> NoPropNetwork:
        """``network``, or where it computes in bf16 a copy with its matrices cast once."""
        return (
            deepcopy(self.network).cast_once() if self.network.precision == "bf16" else self.network
        )

    def predict(
        self,
        images: npt.ArrayLike | torch.Tensor,
        *,
        readout: str = "auto",
        draws: int = 1,
        seed: int = 0,
        batch: int | None = None,
    ) -> Prediction:
        """Classify raw samples; no label is ever needed.

        What is said of a sample depends on it, the draws and the seed alone, up to rounding; it is
        what ``noprop predict`` and exported files say of it.

        Args:
            images: uint8 (N, C, H, W), or (N, H, W) for grey images, on the 0..255 scale; or
                float32 (N, F) vectors.
            readout: "auto", what the validation split chose; "z_T", the paper's at the end of
                the chain (eq. 3, 14); "mean_softmax", the mean of the T blocks' own softmaxes; or
                another of READOUTS.
            draws: noise draws to average the probabilities over.
            seed: of the inference noise; one seed, one answer.
            batch: samples computed at once; None: as many as the device has use for.

        Raises:
            ValueError: shape or dtype is not what the network was trained on, an unknown readout,
                or no draw.
        """
        try:
            readout = self.answering.named(readout)
        except UserError as error:
            raise ValueError(str(error)) from error
        if draws < 1:
            raise ValueError(f"draws must be at least 1, got {draws}")
        x = self._checked(images)
        network = self.portable(draws)
        batch = batch or samples_at_once(self.device)
        said = [
            network.classify(x[start : start + batch], seed, readout)[0]
            for start in range(0, len(x), batch)
        ]
        empty = np.empty((0, self.network.spec.num_classes), np.float32)
        p = np.concatenate(said or [empty])
        return Prediction(p.argmax(axis=1), p, self.class_names)

    def _checked(self, images: npt.ArrayLike | torch.Tensor) -> Array:
        x = images.detach().cpu().numpy() if isinstance(images, torch.Tensor) else np.array(images)
        shape = self.sample_shape
        vector = len(shape) == 1
        if not vector and x.ndim == 3 and shape[0] == 1:
            x = x[:, None]
        wanted = np.dtype(np.float32 if vector else np.uint8)
        if x.shape[1:] != shape or x.dtype != wanted:
            raise ValueError(
                f"expected {wanted} samples of shape (N, {', '.join(map(str, shape))}), "
                f"got {x.dtype} of shape {x.shape}"
            )
        return x
