"""From trained blocks to what a run leaves behind: the network, its answers and its numbers."""

import json

import numpy as np
import torch

from noprop_dist.data import Split
from noprop_dist.engine.coordinator import cannot_evaluate
from noprop_dist.engine.cost import Cost
from noprop_dist.engine.evaluate import EvalResult, EvalUnit, confusion_matrix, eval_units, merge
from noprop_dist.engine.executor import Executor, run_all
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import WorkFailedError
from noprop_dist.engine.splits import Splits
from noprop_dist.model.answering import UNFITTED, Answering
from noprop_dist.model.fit_answering import fit_answering
from noprop_dist.model.network import NoPropNetwork, Trace
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.checkpoint import sha256_of_tensors
from noprop_dist.record.network_files import save_network
from noprop_dist.record.predictions import Predictions, write_predictions
from noprop_dist.record.result import TrainResult, accuracy_over, versions
from noprop_dist.record.store import Store
from noprop_dist.run_files import RESULT

TEST_DRAWS = 5
FIT_ROWS = 10_000  # validation rows and draws whose logits, of every block, come to this process,
FIT_NUMBERS = 2**24  # and how many numbers they may be


def evaluate_test(
    rounds: Rounds, executor: Executor, num_rows: int, answering: Answering
) -> EvalResult:
    """The one look at the test split, in TEST_DRAWS noise draws.

    Raises:
        UserError: it cannot be evaluated; what was trained is in the last checkpoint.
    """
    units = eval_units(0, "test", num_rows, *rounds.final(), TEST_DRAWS, answering=answering)
    return _evaluated(executor, units)


def fitted_on(spec: ModelSpec, num_val: int) -> tuple[int, int]:
    """How many validation rows, and noise draws of each, what answers is chosen by."""
    most = min(FIT_ROWS, FIT_NUMBERS // (spec.num_classes * (spec.num_blocks + 1)))
    rows = min(num_val, most)
    return rows, min(TEST_DRAWS, max(1, most // rows)) if rows else 0


def choose_answering(rounds: Rounds, executor: Executor, val: Split) -> Answering:
    """What the network answers by, fitted on the first FIT_ROWS validation rows.

    Raises:
        UserError: it cannot be evaluated; what was trained is in the last checkpoint.
    """
    rows, draws = fitted_on(rounds.job.spec, len(val))
    if not rows:
        return UNFITTED
    units = eval_units(0, "val", rows, *rounds.final(), draws, keep_logits=True)
    found = _evaluated(executor, units).logits
    assert found is not None
    said = torch.from_numpy(np.concatenate(found, axis=1))  # (1 + T, draws rows, K)
    labels = np.tile(val.labels[:rows], draws)
    return fit_answering(Trace(torch.empty(0), said[1:], said[:1]), labels, draws)


def _evaluated(executor: Executor, units: list[EvalUnit]) -> EvalResult:
    try:
        results = run_all(executor, units)
    except WorkFailedError as error:
        raise cannot_evaluate(error) from error
    return merge([r for r in results if isinstance(r, EvalResult)])


def finish(
    rounds: Rounds,
    answering: Answering,
    test: EvalResult,
    splits: Splits,
    store: Store,
    metrics: dict[str, float],
) -> TrainResult:
    """Write the network, its answers and, last, ``result.json``, which says that the run is done.

    Metrics are a user's own, of the test split.

    Raises:
        UserError: the run folder cannot be written to.
    """
    job = rounds.job
    weights, shared = rounds.final()
    network = NoPropNetwork.assemble(job.spec, weights, shared)
    data = job.fingerprint["data"]
    save_network(store, network, job.normalisation, job.class_names, data, answering)
    labels = splits.test.labels
    total = test.num_rows * len(test.after_t)
    measures = test.likelihood.measures(len(labels), job.spec.num_classes)
    result = TrainResult(
        folder=store.root,
        test_accuracy={
            name: accuracy_over(test.accuracy(name), test.num_rows) for name in test.readouts
        },
        test_measures=dict(zip(test.readouts, measures, strict=True)),
        answering=answering.to_dict(),
        accuracy_after_t=(test.after_t.sum(axis=0) / total).tolist(),
        block_accuracy=(test.block.sum(axis=0) / total).tolist(),
        block_sha256={str(t): sha256_of_tensors(weights[t]) for t in rounds.active},
        confusion=confusion_matrix(labels, test.answers, job.spec.num_classes).tolist(),
        train_seconds=rounds.train_seconds,
        epochs=rounds.round,
        config=job.config.to_dict(),
        versions=versions(),
        fingerprint=job.fingerprint,
        precision=job.precision,
        num_skipped=splits.num_skipped,
        set_aside={str(t): reason for t, reason in rounds.set_aside.items()},
        metrics=metrics,
        cost=Cost.of(job.config, job.spec).told(),
    )
    rows = np.arange(len(labels))
    said = Predictions(rows, labels, test.answers, test.confidence)
    write_predictions(store, said, dict(zip(test.readouts, test.probabilities, strict=True)))
    # Without the folder's name: a run folder can be moved.
    numbers = {k: v for k, v in result.to_dict().items() if k != "folder"}
    store.write(RESULT, json.dumps(numbers, indent=1).encode())
    return result
