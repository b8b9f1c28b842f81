"""From trained blocks to what a run leaves behind: the network, its numbers and its pictures."""

import json

import numpy as np
import numpy.typing as npt
from torch import Tensor

from noprop_dist.data.shards import Rows
from noprop_dist.engine.coordinator import cannot_evaluate
from noprop_dist.engine.evaluate import EvalResult, confusion_matrix, eval_units, merge
from noprop_dist.engine.executor import Executor, WorkFailedError, run_all
from noprop_dist.engine.job import Splits
from noprop_dist.engine.rounds import Rounds
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.record import plots
from noprop_dist.record.checkpoint import sha256_of_tensors
from noprop_dist.record.export import save_network
from noprop_dist.record.result import TrainResult, accuracy_over, versions
from noprop_dist.record.store import Store
from noprop_dist.record.timeline import read_timeline
from noprop_dist.record.timeline_plot import plot_timeline

TEST_DRAWS = 5
PICTURED = 24  # images on the picture of predictions, half of them mistakes where there are enough


def evaluate_test(rounds: Rounds, executor: Executor, num_rows: int) -> EvalResult:
    """The one look at the test split, in TEST_DRAWS noise draws.

    Raises:
        UserError: it cannot be evaluated; what was trained is in the last checkpoint.
    """
    units = eval_units(0, "test", num_rows, *rounds.final(), TEST_DRAWS)
    try:
        results = run_all(executor, units)
    except WorkFailedError as error:
        raise cannot_evaluate(error) from error
    return merge([r for r in results if isinstance(r, EvalResult)])


def finish(
    rounds: Rounds, test: EvalResult, splits: Splits, store: Store, num_skipped: int
) -> TrainResult:
    """Write ``model/``, ``plots/`` and, last, ``result.json``, which says that the run is done.

    Raises:
        UserError: the run folder cannot be written to.
    """
    job = rounds.job
    weights, shared = rounds.final()
    network = NoPropNetwork.assemble(job.spec, weights, shared)
    save_network(store, network, job.normalisation, job.class_names)
    labels = splits.test.labels
    total = len(test.answers) * len(test.mean_softmax)
    result = TrainResult(
        folder=store.root,
        test_accuracy={
            "z_T": accuracy_over(test.accuracy_z_T),
            "mean_softmax": accuracy_over(test.accuracy_mean_softmax),
        },
        accuracy_after_t=(test.after_t.sum(axis=0) / total).tolist(),
        block_accuracy=(test.block.sum(axis=0) / total).tolist(),
        block_sha256={str(t): sha256_of_tensors(weights[t]) for t in rounds.active},
        confusion=confusion_matrix(labels, test.answers, job.spec.num_classes).tolist(),
        train_seconds=rounds.train_seconds,
        epochs=rounds.round,
        config=job.config.to_dict(),
        versions=versions(),
        precision=job.precision,
        num_skipped=num_skipped,
        set_aside={str(t): reason for t, reason in rounds.set_aside.items()},
    )
    if not job.config.no_plots:
        _draw(rounds, shared["class_embed"], result, test, splits, store)
    # Without the folder's name: a run folder can be moved.
    numbers = {k: v for k, v in result.to_dict().items() if k != "folder"}
    store.write("result.json", json.dumps(numbers, indent=1).encode())
    return result


def _draw(
    rounds: Rounds,
    class_embed: Tensor,
    result: TrainResult,
    test: EvalResult,
    splits: Splits,
    store: Store,
) -> None:
    job = rounds.job
    images = not splits.test.is_vector
    pictured = images and job.spec.embedding_type == "prototype"
    image_shape = job.spec.sample_shape if pictured else None
    figures = {
        "history": plots.plot_history(rounds.history),
        "denoising": plots.plot_denoising(result.accuracy_after_t, result.block_accuracy),
        "confusion": plots.plot_confusion(result.confusion, job.class_names),
        "embedding": plots.plot_embedding(class_embed, job.class_names, image_shape),
    }
    if images:
        rows = telling_rows(splits.test.labels, test.answers, test.confidence)
        x, y = splits.test.take(rows)
        figures["predictions"] = plots.plot_predictions(
            x, y, test.answers[rows], test.confidence[rows], job.class_names
        )
    timeline = read_timeline(store)
    if timeline.num_units:
        figures["timeline"] = plot_timeline(timeline)
    for name, figure in figures.items():
        plots.save_figure(store, f"plots/{name}.png", figure)


def telling_rows(
    labels: Rows, answers: Rows, confidence: npt.NDArray[np.float32], count: int = PICTURED
) -> Rows:
    """Rows worth looking at: the surest mistakes, then the least sure hits.

    Args:
        labels: int64 (N,).
        answers: int64 (N,).
        confidence: float32 (N,), the probability of the answer.
        count: how many rows, at most half of them mistakes.
    """
    right = answers == labels
    order = np.argsort(confidence, kind="stable")
    mistakes = order[~right[order]][::-1][: count // 2]
    hits = order[right[order]][: count - len(mistakes)]
    return np.concatenate([mistakes, hits])
