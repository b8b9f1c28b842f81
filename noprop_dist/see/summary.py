"""What a person wants to know when training has ended."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from noprop_dist.maths.chance import margin, stderr
from noprop_dist.model.answering import READOUTS, Answering
from noprop_dist.record.result import TrainResult, measured
from noprop_dist.text import aligned, duration, how_many, printable


def summary(result: TrainResult, seconds: float | None = None) -> str:
    """What a person wants to know at the end; ``seconds``: that the command took."""
    answers_by = []
    if result.answering:
        answering = Answering.from_dict(result.answering)
        answers_by = [f"predict and export: {answering.words()}"]

    def told(readout: str) -> str:
        reached = result.test_accuracy[readout]
        also = measured(result.test_measures.get(readout, {}))
        words = "".join(f", {name} {value}" for name, value in also.items())
        return f"{reached}{words}"

    took = duration(result.train_seconds)
    if seconds is not None:  # a command that goes on takes less than all of the training
        whole = seconds >= result.train_seconds
        took += f"; {duration(seconds)} {'in all' if whole else 'of this command'}"
    after = "  ".join(f"{100 * a:.1f}" for a in result.accuracy_after_t)
    return "\n".join(
        [
            f"test accuracy, %, {len(result.test_accuracy['z_T'].draws)} noise draws; +-: a 95 % "
            "interval, of the noise and of the images",
            *(f"  {READOUTS[name]:15}  {told(name)}" for name in result.test_accuracy),
            f"  after t = 1..{len(result.accuracy_after_t)}, %: {after}",
            f"trained {how_many(result.epochs, 'epoch')} in {took}",
            *answers_by,
            f"results in {printable(result.folder)}",
        ]
    )


def of_seeds(results: Sequence[TrainResult]) -> dict[str, Any]:
    """At least two runs that differ in their seed alone.

    Returns:
        ``seeds``: every run's numbers; ``test_accuracy``: by readout the ``mean`` over seeds, a
        fraction, its standard error ``stderr``, and ``margin``, half the width of a 95 % interval
        that holds the chance of the seeds, and so of the noise, and that of the test images.
    """
    found = {}
    for readout in results[0].test_accuracy:
        means = [result.test_accuracy[readout].mean for result in results]
        rows = sum(map(sum, results[0].confusion))
        found[readout] = {
            "mean": fmean(means),
            "stderr": stderr(means),
            "margin": margin(means, rows),
        }
    return {"test_accuracy": found, "seeds": [result.to_dict() for result in results]}


def summary_of_seeds(results: Sequence[TrainResult]) -> str:
    """A line a run, and the means over the seeds."""
    found = of_seeds(results)["test_accuracy"]
    rows = [["seed", *(READOUTS[name] for name in found), "results in"]]
    for result in results:
        cells = [str(result.test_accuracy[name]) for name in found]
        rows.append([str(result.config["seed"]), *cells, printable(result.folder)])
    told = [f"{100 * of['mean']:.2f} +- {100 * of['margin']:.2f}" for of in found.values()]
    rows.append(["mean", *told, ""])
    return "\n".join(
        [
            f"test accuracy, %, of {len(results)} seeds; +-: a 95 % interval, of the noise and of "
            "the images, and in the mean of the seeds",
            *aligned(rows),
        ]
    )
