"""Evaluating a run's network: from labelled rows to every number about them."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add
from typing import Any

import torch

from noprop_dist.draw.evaluation import plot_evaluation
from noprop_dist.draw.style import save_figure
from noprop_dist.engine.evaluate import traces_of
from noprop_dist.host import count_cores
from noprop_dist.model.network import INFERENCE_BATCH
from noprop_dist.record.portable import OUTPUTS
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
        By name: accuracies, per-class scores and calibration of both readouts, and accuracies by
        the number of blocks and of draws.
    """
    counts = count(run, rows, draws, batch)
    total = int(counts.rows)
    network, device = run.trained.network, run.trained.device
    readouts = {}
    for r, name in enumerate(OUTPUTS):
        by_draw = [right / total for right in counts.right[r].tolist()]
        over = accuracy_over(by_draw) if draws > 1 else None
        readouts[name] = {
            "accuracy": {
                "mean": sum(by_draw) / draws,
                "stderr": over.stderr if over else None,
                "draws": by_draw,
            },
            "accuracy_of_averaged_draws": [n / total for n in counts.averaged[r].tolist()],
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
        "readouts": readouts,
        "accuracy_after_t": (counts.after_t.sum(axis=0) / (total * draws)).tolist(),
        "block_accuracy": (counts.block.sum(axis=0) / (total * draws)).tolist(),
        "confusion": counts.first.tolist(),
    }


def count(run: OpenRun, rows: LabelledRows, draws: int, batch: int) -> Tally:
    """Count all rows, in as many threads as there are cores for."""
    step = -(-batch // INFERENCE_BATCH) * INFERENCE_BATCH
    total = len(rows.split)
    parts = [(i, min(i + step, total)) for i in range(0, total, step)]
    threads = cpu_threads(run)
    slots = max(1, count_cores() // threads) if run.trained.device.type == "cpu" else 1
    with ThreadPoolExecutor(
        min(slots, len(parts)), "evaluate", torch.set_num_threads, (threads,)
    ) as pool:
        # In the order of the rows: sums of floats do not depend on who was first.
        return reduce(add, pool.map(lambda part: _count_part(run, rows, draws, part), parts))


def _count_part(run: OpenRun, rows: LabelledRows, draws: int, part: tuple[int, int]) -> Tally:
    trained = run.trained
    network, classes = trained.computing, trained.network.spec.num_classes
    batches = traces_of(
        network, rows.split, trained.normalisation, part, run.seed, range(draws), trained.device
    )
    return reduce(add, (tally(y, traces, classes) for y, traces in batches))


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
