"""How much of a core's forward passes is left when pictures come from files and answers go to one.

B pictures of a batch, T blocks.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from noprop_dist.benchmarks.benchmark_options import PredictBenchmark
from noprop_dist.benchmarks.pairs import in_pairs
from noprop_dist.data import fit_normalisation, normalise
from noprop_dist.data.account import Reading
from noprop_dist.data.digits import load_digits
from noprop_dist.data.pictures import Limits, find_pictures
from noprop_dist.engine.snapshot import first_shared
from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.model.device import autocast, resolve_precision
from noprop_dist.model.init import init_block
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.model.registry import make_block
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.use.predict import Answer, Predictor, Question, predict
from noprop_dist.use.writers import open_writer

SIDE = 28  # MNIST's pictures
LIMITS = Limits(max_bytes=2**20, max_pixels=2**20)


def benchmark_predict(options: PredictBenchmark) -> dict[str, Any]:
    """Pictures per second of both sides, on one core, alternating.

    The bare side calls every block on normalised batches that lie in memory. The other does all
    that ``noprop predict`` does, from finding PNG files to JSON lines in a file.

    Returns:
        ``bare`` and ``predict`` (pictures/s, medians), ``ratio`` (median of the pairs'),
        ``ratios``, and the ``precision`` computed in.
    """
    with tempfile.TemporaryDirectory(prefix="noprop-benchmark-") as name, one_core():
        folder = Path(name)
        images = _pictures(folder / "pictures", options.images)
        trained = _network(options.num_blocks)
        predictor = Predictor(trained, Question("z_T", 3, 1, 0, LIMITS))
        pairs = in_pairs(
            lambda: _time_predict(predictor, folder, options),
            lambda: _time_bare(trained, images, options.batch_size),
            options.repeats,
        )
    return {
        "bare": pairs.theirs,
        "predict": pairs.ours,
        "ratio": pairs.ratio,
        "ratios": pairs.ratios,
        "images": options.images,
        "num_blocks": options.num_blocks,
        "precision": trained.network.precision,
        "torch": torch.__version__,
    }


def render(measured: dict[str, Any]) -> str:
    """The result in a few lines."""
    m = measured
    return "\n".join(
        [
            f"bare passes of {m['num_blocks']} blocks  {m['bare']:8,.0f} pictures/s "
            f"({m['precision']}, one core)",
            f"noprop predict            {m['predict']:8,.0f} pictures/s",
            f"ratio                     {m['ratio']:8.2f}  (median of {len(m['ratios'])} pairs)",
        ]
    )


@contextmanager
def one_core() -> Iterator[None]:
    """This thread, and those that it starts, on one core and with one thread of computing."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(cores)})
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.sched_setaffinity(0, cores)


def _pictures(folder: Path, count: int) -> torch.Tensor:
    """Write ``count`` PNG files of handwritten digits; their pixels, uint8 (count, 1, 28, 28)."""
    train = load_digits(Reading(SIDE)).splits["train"]
    folder.mkdir()
    images, _ = train.take(np.arange(count) % len(train))
    for i, image in enumerate(images):
        Image.fromarray(image[0]).save(folder / f"{i:06}.png")
    return torch.from_numpy(images)


def _network(num_blocks: int) -> TrainedNetwork:
    """A network of random weights: computing with them takes as long."""
    spec = ModelSpec(
        block="conv",
        num_blocks=num_blocks,
        num_classes=10,
        embed_dim=10,
        sample_shape=(1, SIDE, SIDE),
        embedding_type="one-hot",
        schedule="cosine",
        alpha_bar_min=1e-4,
        alpha_bar_max=0.99,
        readout="softmax",
        dropout=0.0,
    )
    blocks = {
        t: init_block(make_block(spec, t), torch.Generator().manual_seed(t)).state_dict()
        for t in range(1, num_blocks + 1)
    }
    device = torch.device("cpu")
    precision = resolve_precision("auto", device)
    shared = first_shared(one_hot_embedding(10))
    network = NoPropNetwork.assemble(spec, blocks, shared, device, precision)
    normalisation = fit_normalisation(load_digits(Reading(SIDE)).splits["train"])
    return TrainedNetwork(network, normalisation, tuple("0123456789"), device)


@torch.inference_mode()
def _time_bare(trained: TrainedNetwork, images: torch.Tensor, batch: int) -> float:
    network = trained.network
    batches = [normalise(part, trained.normalisation) for part in torch.split(images, batch)]
    z = torch.zeros(batch, network.spec.embed_dim)
    start = time.perf_counter()
    with autocast(network.precision, trained.device):
        for x in batches:
            for t in range(1, network.spec.num_blocks + 1):
                network.block(t)(z[: len(x)], x)
    return len(images) / (time.perf_counter() - start)


def _time_predict(predictor: Predictor, folder: Path, options: PredictBenchmark) -> float:
    names = tuple("0123456789")
    start = time.perf_counter()
    told = 0
    with open_writer("jsonl", str(folder / "answers.jsonl"), names) as write:
        for answers in predict(
            predictor, find_pictures([str(folder / "pictures")]), options.batch_size
        ):
            good = [answer for answer in answers if isinstance(answer, Answer)]
            write(good)
            told += len(good)
    seconds = time.perf_counter() - start
    assert told == options.images, f"{told} of {options.images} pictures were classified"
    return told / seconds
