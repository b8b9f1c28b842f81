"""How fast a folder of pictures becomes rows, beside Pillow alone on as many threads."""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noprop_dist.benchmarks.benchmark_options import DecodeBenchmark
from noprop_dist.benchmarks.pairs import in_pairs
from noprop_dist.data import load_dataset
from noprop_dist.data.cache import PLACE
from noprop_dist.data.images import MAX_THREADS
from noprop_dist.host import count_cores, environment

CLASSES = 10
BLOBS = 14  # side of the random colours that are blown up to a picture


def benchmark_decode(options: DecodeBenchmark) -> dict[str, Any]:
    """Pictures per second of both sides, alternating.

    Ours lists the class folders of train and test, looks at headers and decodes into shards, as
    ``noprop train`` does. Pillow opens every file, decodes it and keeps its pixels as an array.

    Returns:
        ``pillow`` and ``ours`` (pictures/s, medians), ``ratio`` (median of the pairs'), ``ratios``.
    """
    with tempfile.TemporaryDirectory(prefix="noprop-benchmark-") as name:
        files = _photos(Path(name), options.images, options.side)
        pairs = in_pairs(
            lambda: _time_ours(name, options.images), lambda: _time_pillow(files), options.repeats
        )
    return {
        "pillow": pairs.theirs,
        "ours": pairs.ours,
        "ratio": pairs.ratio,
        "ratios": pairs.ratios,
        "images": options.images,
        "side": options.side,
    }


def render(measured: dict[str, Any]) -> str:
    """The result in a few lines."""
    m = measured
    return "\n".join(
        [
            f"Pillow, keeping arrays  {m['pillow']:8,.0f} pictures/s of {m['side']}x{m['side']}",
            f"noprop                  {m['ours']:8,.0f} pictures/s",
            f"ratio                   {m['ratio']:8.2f}  (median of {len(m['ratios'])} pairs)",
        ]
    )


def _photos(folder: Path, count: int, side: int) -> list[Path]:
    """Write ``count`` JPEG files of blurred colours with grain, a fifth of them to test on."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(count):
        split = "train" if i < 0.8 * count else "test"
        files.append(folder / split / f"class{i % CLASSES}" / f"{i:06}.jpg")
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        blobs = Image.fromarray(rng.integers(0, 256, (BLOBS, BLOBS, 3), dtype=np.uint8))
        smooth = np.asarray(blobs.resize((side, side), Image.Resampling.BICUBIC), np.int16)
        grainy = smooth + rng.integers(-12, 13, smooth.shape, dtype=np.int16)
        Image.fromarray(grainy.clip(0, 255).astype(np.uint8)).save(file, quality=90)
    return files


def _time_ours(folder: str, count: int) -> float:
    # So that what is too much for memory is not found decoded.
    with tempfile.TemporaryDirectory() as cache, environment({PLACE: cache}):
        start = time.perf_counter()
        loaded = load_dataset(folder)
        seconds = time.perf_counter() - start
    there = len(loaded.train) + len(loaded.test)
    assert there == count, f"{there} of {count} pictures were read"
    return count / seconds


def _time_pillow(files: list[Path]) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(min(count_cores(), MAX_THREADS)) as pool:
        kept = list(pool.map(_pixels, files))
    seconds = time.perf_counter() - start
    return len(kept) / seconds


def _pixels(file: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))
