"""Run folders written in no time, with the numbers of nobody's training."""

import json
from pathlib import Path
from typing import Any

from noprop_dist import TrainConfig
from noprop_dist.record.events import EventLog
from noprop_dist.record.history import BlockEpoch, History
from noprop_dist.record.result import TrainResult, accuracy_over, versions
from noprop_dist.record.store import Store

T = 3
SHA = "0123456789abcdef" * 4


def make_run(
    folder: Path,
    *,
    epochs: int = 2,
    finished: bool = True,
    set_aside: dict[str, str] | None = None,
    **options: Any,
) -> TrainConfig:
    """A run of 3 blocks in a folder; validation accuracy peaks in its second epoch."""
    config = TrainConfig(**({"num_blocks": T, "epochs": epochs, "executor": "local"} | options))
    store = Store(folder)
    store.write("config.yaml", config.to_yaml().encode())
    log = EventLog(store)
    log.write("run_started", checkpoint=None, warnings=[], steps={})
    log.write("unit", block=1, step=0, num_steps=5, started=0.0, seconds=1.0, worker="slot_0")
    history = History()
    for epoch in range(epochs):
        blocks = {t: BlockEpoch(1.5 / (epoch + t), 0.5 + 0.1 * t, 100.0 * t) for t in (1, 2, 3)}
        history.record(blocks, 0.9 - 0.01 * abs(epoch - 1), None, 10.0**-epoch)
    store.write("training_history.json", json.dumps(history.to_dict()).encode())
    store.write(f"checkpoints/step-{epochs:08d}/manifest.json", b"{}")
    if finished:
        result = TrainResult(
            folder="",
            test_accuracy={
                "z_T": accuracy_over([0.97, 0.99], 1000),
                "mean_softmax": accuracy_over([0.99, 1.0], 1000),
            },
            accuracy_after_t=[0.5, 0.75, 0.98],
            block_accuracy=[0.99, 0.9, 0.95],
            block_sha256=dict.fromkeys(("1", "2", "3"), SHA),
            confusion=[[1, 0], [0, 1]],
            train_seconds=75.4,
            epochs=epochs,
            config=config.to_dict(),
            versions=versions(),
            precision="fp32",
            num_skipped=0,
            set_aside=set_aside or {},
        )
        values = {k: v for k, v in result.to_dict().items() if k != "folder"}
        store.write("result.json", json.dumps(values).encode())
    return config


def make_sweep(folder: Path, reached: list[float | None], *, per_block: int = 0) -> None:
    """A sweep of trials that reached so much, None: did not end; else of as many blocks alone."""
    store = Store(folder)
    space = {
        "lr": {"loguniform": [0.001, 0.1]},
        "embedding_type": {"choice": ["one-hot", "learned"]},
    }
    how = {"search": "random", "scheduler": "asha", "per_block": bool(per_block)}
    store.write("sweep.json", json.dumps({"config": {}, "sweep": how, "space": space}).encode())
    for number, value in enumerate(reached):
        settings = {"lr": (1 + number) / 100, "embedding_type": "one-hot"}
        if per_block:
            settings |= {"t": 1 + number % per_block}
        trial = f"trials/{number:04d}"
        store.write(f"{trial}/config.yaml", b"dataset: some/where/shapes")
        store.write(f"{trial}/trial.json", json.dumps(settings).encode())
        if value is not None:
            metric = "val_loss" if per_block else "val_accuracy"
            best = {"epoch": 2, metric: value, "val_mean_softmax": 0.5}
            outcome = {"status": "finished", "epochs": 3, "seconds": 1.5, "best": best}
            store.write(f"{trial}/outcome.json", json.dumps(outcome).encode())
