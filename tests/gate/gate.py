"""Small runs of every kind, and hashes of all that they leave; ``python ... FILE`` writes them.

They compute with instructions that every x86 machine has, so that the hashes are the same on all.
"""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from noprop_dist import TrainConfig, train
from noprop_dist.compare.compare_options import CompareOptions
from noprop_dist.compare.run_comparison import compare
from noprop_dist.data.shards import Array
from noprop_dist.distributed.cluster import connected
from noprop_dist.record.portable import PortableNetwork
from noprop_dist.training import StoppedError
from noprop_dist.tune.run_sweep import sweep
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.use.export import export_network
from noprop_dist.use.opening import open_run
from noprop_dist.use.rows import rows_for

SMALL: dict[str, Any] = {
    "max_train_images": 200,
    "num_blocks": 2,
    "batch_size": 32,
    "epochs": 2,
    "quiet": True,
    "plots": False,
    "device": "cpu",
    "executor": "local",
    "precision": "fp32",
}
RUNS: dict[str, dict[str, Any]] = {
    "one-hot": {},
    "learned": {"embedding_type": "learned", "embedding_dim": 12, "freeze_after": 1},
    "prototype": {"embedding_type": "prototype"},
    "ray-learned": {"executor": "ray", "workers": 2, "embedding_type": "learned"},
    "mlp": {"dataset": "features.parquet", "max_train_images": None},
    "resnet18": {"block": "resnet18", "max_train_images": 70, "epochs": 1},
    "conv-pooled": {"block": "conv-pooled", "image_size": 72, "max_train_images": 70, "epochs": 1},
    "early-stopping": {"early_stopping_patience": 1, "lr": 0.02, "epochs": 4},
    "plateau": {"lr_schedule": "plateau", "lr_patience": 1, "lr": 0.02, "epochs": 3},
    "augmentation": {"augmentation": "standard", "flip": "yes"},
    "linear-radial": {"noise_schedule": "linear", "readout": "radial", "lr_schedule": "constant"},
    "averaged-clipped": {"ema_decay": 0.9, "grad_clip": 1.0, "eta": 1.0, "dropout": 0.0},
}


def sha256(*parts: Array | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def run(name: str, folder: Path) -> dict[str, Any]:
    """Train one of RUNS; hashes of its blocks, its predictions and what is exported of it."""
    config = TrainConfig(run_dir=str(folder / name), **(SMALL | RUNS[name]))
    return hashes(train(config).folder)


def hashes(folder: str) -> dict[str, Any]:
    """Of a finished run."""
    result = json.loads(Path(folder, "result.json").read_text())
    said = pq.read_table(Path(folder, "test_predictions.parquet"))
    opened = open_run(folder, "cpu", "fp32")
    rows = rows_for(opened)
    exported = export_network(opened, rows, "safetensors", f"{folder}/network.safetensors")
    samples, _ = rows.split.take(np.arange(16))  # fewer: PyTorch convolves by other code
    network = PortableNetwork(opened.trained.network, opened.trained.normalisation, 2)
    return {
        "block_sha256": result["block_sha256"],
        "z_T": result["test_accuracy"]["z_T"]["draws"],
        "predictions": sha256(*(said[c].to_numpy() for c in ("label", "answer", "confidence"))),
        "exported": sha256(Path(exported.file).read_bytes()),
        "portable": sha256(*network.classify(samples, 3, "z_T", "mean_softmax")),
    }


def resumed(folder: Path) -> dict[str, Any]:
    """A run that was stopped in the middle of an epoch and gone on with."""
    import os
    import signal
    from threading import Thread

    from noprop_dist.record.events import read_events
    from noprop_dist.record.store import Store

    place = folder / "resumed"
    config = TrainConfig(run_dir=str(place), **(SMALL | {"epochs": 3}))

    def stop() -> None:
        while not any(e["event"] == "unit" for e in read_events(Store(place))):
            pass
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=stop, daemon=True).start()
    try:
        train(config)
    except StoppedError:
        train(config)
    return hashes(str(place))


def swept(folder: Path) -> dict[str, Any]:
    """A sweep of two settings."""
    space = folder / "space.yaml"
    space.write_text("lr: {choice: [1e-3, 3e-3]}\n")
    config = TrainConfig(
        run_dir=str(folder / "swept"), **(SMALL | {"executor": "ray", "epochs": 1})
    )
    result = sweep(config, SweepConfig(space=str(space), samples=2, max_concurrent=1))
    kept = ("trial", "lr", "val_accuracy", "train_loss")
    return {"rows": [{k: row[k] for k in kept if k in row} for row in result.rows]}


def compared(folder: Path) -> dict[str, Any]:
    """All three methods."""
    config = TrainConfig(
        run_dir=str(folder / "compared"), **(SMALL | {"executor": "ray", "workers": 1})
    )
    methods = "noprop,twin,noprop-sequential"
    found = compare(config, CompareOptions(methods=methods, efficiency_epochs=0))
    return {row.method: row.test_accuracy for row in found.rows}


def features(path: Path) -> None:
    """Three classes of vectors, drawn by key."""
    draw = np.random.default_rng(0)
    y = np.arange(180) % 3
    x = (draw.normal(size=(180, 6)) + 2 * y[:, None]).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), 6)
    pq.write_table(pa.table({"x": column, "label": y}), path)


OTHERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "resumed": resumed,
    "swept": swept,
    "compared": compared,
}


def main(file: str) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="gate") as place:
        folder = Path(place)
        features(folder / "features.parquet")
        RUNS["mlp"]["dataset"] = str(folder / "features.parquet")
        with connected(TrainConfig(**SMALL), 0):  # one cluster for all: each start takes seconds
            found = {name: run(name, folder) for name in RUNS}
            found |= {name: made(folder) for name, made in OTHERS.items()}
    Path(file).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
