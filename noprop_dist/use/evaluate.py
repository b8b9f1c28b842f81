"""Evaluating a run's network: from labelled rows to every number about them."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import reduce
from operator import add
from typing import Any

import torch

from noprop_dist.data.features import seen
from noprop_dist.data.shards import Split
from noprop_dist.draw.evaluation import plot_evaluation
from noprop_dist.draw.style import save_figure
from noprop_dist.engine.evaluate import traces_of
from noprop_dist.engine.likelihood import Counts
from noprop_dist.host import count_cores
from noprop_dist.model.network import INFERENCE_BATCH, NoPropNetwork
from noprop_dist.record.progress import shown_work
from noprop_dist.record.result import accuracy_over
from noprop_dist.record.store import Store
from noprop_dist.run_files import EVALUATION
from noprop_dist.text import shown
from noprop_dist.use.measures import Tally, calibration, class_scores, tally
from noprop_dist.use.opening import OpenRun, cpu_threads
from noprop_dist.use.rows import LabelledRows

Evaluation = dict[str, Any]

PICTURE = "plots/evaluation.png"


def evaluate(run: OpenRun, rows: LabelledRows, *, draws: int = 5, batch: int = 2048) -> Evaluation:
    """Everything that ``evaluation.json`` holds of some rows.

    The noise is that of the evaluation after training, drawn by place in the rows: of the same
    rows, draws and precision come the same numbers. A prediction draws its noise by picture.

    Args:
        run: whose network to evaluate.
        rows: on what.
        draws: S, noise draws.
        batch: rows of one piece of work; changes no number.

    Returns:
        By name: accuracies, per-class scores and calibration of the readouts, and accuracies by
        the number of blocks and of draws.
    """
    counts = count(run, rows, draws, batch)
    total = int(counts.rows)
    network, device = run.trained.network, run.trained.device
    measures = counts.likelihood.measures(total, network.spec.num_classes)
    readouts = {}
    for r, name in enumerate(run.trained.answering.readouts):
        readouts[name] = {
            "accuracy": _accuracy(counts.right[r], total),
            "accuracy_of_averaged_draws": [n / total for n in counts.averaged[r].tolist()],
            **measures[r],
            **class_scores(counts.confusion[r], run.trained.class_names, draws),
            "calibration": calibration(
                counts.bin_count[r], counts.bin_right[r], counts.bin_confidence[r]
            ),
        }
    return {
        "run": shown(run.name),
        "notes": [shown(note) for note in (*run.notes, *rows.notes)],
        "dataset": shown(rows.dataset),
        "split": rows.which,
        "images": total,
        "skipped_images": rows.num_skipped,
        "draws": draws,
        "seed": run.seed,
        "precision": network.precision,
        "device": str(device),
        "class_names": list(run.trained.class_names),
        "answering": run.trained.answering.to_dict(),
        "readouts": readouts,
        "accuracy_after_t": (counts.after_t.sum(axis=0) / (total * draws)).tolist(),
        "block_accuracy": (counts.block.sum(axis=0) / (total * draws)).tolist(),
        "accuracy_noise_free": _accuracy(counts.noise_free, total)
        if network.objective.has_noise_free_steps
        else None,
        "confusion": counts.first.tolist(),
    }


def _accuracy(right: Counts, total: int) -> dict[str, Any]:
    """The fields of ``Accuracy``, from the right answers by draw; one has no standard error."""
    found = asdict(accuracy_over([n / total for n in right.tolist()], total))
    return found | ({"stderr": None} if len(right) == 1 else {})


def count(run: OpenRun, rows: LabelledRows, draws: int, batch: int) -> Tally:
    """Count all rows, in as many threads as there are cores for."""
    step = -(-batch // INFERENCE_BATCH) * INFERENCE_BATCH
    split, total = seen(run.trained.backbone, rows.split, shown_work), len(rows.split)
    network = run.trained.computing  # made once, before threads share it
    parts = [(i, min(i + step, total)) for i in range(0, total, step)]
    threads = cpu_threads(run)
    slots = max(1, count_cores() // threads) if run.trained.device.type == "cpu" else 1
    with (
        shown_work("evaluating", total) as done,
        ThreadPoolExecutor(
            min(slots, len(parts)), "evaluate", torch.set_num_threads, (threads,)
        ) as pool,
    ):
        # In the order of the rows: sums of floats do not depend on who was first.
        return reduce(
            add, pool.map(lambda part: _count_part(run, network, split, draws, part, done), parts)
        )


def _count_part(
    run: OpenRun,
    network: NoPropNetwork,
    split: Split,
    draws: int,
    part: tuple[int, int],
    done: Callable[[int], object],
) -> Tally:
    trained, classes = run.trained, network.spec.num_classes
    batches = traces_of(
        network,
        split,
        trained.normalisation,
        part,
        run.seed,
        range(draws),
        trained.device,
        noise_free=network.objective.has_noise_free_steps,
    )

    def counted() -> Iterator[Tally]:
        for y, traces in batches:
            yield tally(y, traces[:draws], traces[draws:], classes, trained.answering)
            done(len(y))

    return reduce(add, counted())


def write_evaluation(evaluation: Evaluation, folder: str) -> None:
    """Write ``evaluation.json`` into a folder or URI.

    Raises:
        UserError: it cannot be written to.
    """
    Store(folder, "--output").write(EVALUATION, json.dumps(evaluation, indent=1).encode())


def draw_evaluation(evaluation: Evaluation, folder: str) -> bool:
    """Write ``plots/evaluation.png`` beside it, or say why not; whether it was written."""
    store = Store(folder, "--output")
    return save_figure(store, PICTURE, lambda: plot_evaluation(evaluation))
