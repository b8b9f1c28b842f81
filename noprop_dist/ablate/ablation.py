"""From answers to an ablation: accuracies, paired differences with intervals, other runs beside.

N rows, T blocks.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from noprop_dist.ablate.answers import CHAIN, GIVEN, LABEL, NOISE, OTHER, Answers, Right, answers_of
from noprop_dist.ablate.words import in_words
from noprop_dist.errors import UserError
from noprop_dist.text import shown
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.rows import LabelledRows

Ablation = dict[str, Any]

NORMAL_95 = 1.959964  # quantiles between which a normal variable lies with probability 0.95


def ablate(
    run: OpenRun,
    rows: LabelledRows,
    others: Sequence[OpenRun] = (),
    *,
    draws: int = 5,
    notes: Sequence[str] = (),
) -> Ablation:
    """What the blocks make of z, and what other networks make of the same rows.

    Args:
        run: whose network it is.
        rows: on what.
        others: networks to compare with, trained on the same data.
        draws: noise draws.
        notes: what the user should know of the others, a sentence each.

    Returns:
        What ``ablation.json`` holds: accuracies by what is given as z, differences on the same
        rows with the half widths of their 95 % intervals, and sentences made from them.

    Raises:
        UserError: another network is of other data.
    """
    check_same_data(run, others)
    answers = answers_of(run, rows.split, draws)
    ablation = {
        "run": shown(run.name),
        "notes": [shown(note) for note in (*run.notes, *rows.notes, *notes)],
        "dataset": shown(rows.dataset),
        "split": rows.which,
        "images": len(rows.split),
        "draws": draws,
        "seed": run.seed,
        "precision": run.trained.network.precision,
        "accuracy": {
            "z_T": interval(answers.z_T),
            "mean_softmax": {given: interval(answers.mean_softmax[given]) for given in GIVEN},
            "block": {given: answers.block[given].mean(axis=1).tolist() for given in GIVEN},
        },
        "differences": _differences(answers),
        "others": [_beside(answers, other, rows, draws) for other in others],
    }
    return ablation | {"words": in_words(ablation)}


def check_same_data(run: OpenRun, others: Sequence[OpenRun]) -> None:
    """Refuse to compare with networks of other data.

    Raises:
        UserError: names the first of them.
    """
    for other in others:
        if other.trained.data_sha256 != run.trained.data_sha256:
            raise UserError(
                f"{other.name} was trained on other data than {run.name}: compare runs on the same."
            )


def interval(values: Right) -> dict[str, float]:
    """Mean over rows with the half width of its 95 % interval, in fractions.

    A row's value is its mean over noise draws, so the spread between rows holds that of the noise,
    too: the interval is of another sample of images and of other noise.
    """
    spread = float(values.std(ddof=1))
    return {"mean": float(values.mean()), "half_width": NORMAL_95 * spread / len(values) ** 0.5}


def _differences(answers: Answers) -> dict[str, Any]:
    """What is lost or won against the chain, row by row; and between readouts of the chain."""
    chain = answers.mean_softmax[CHAIN]
    by_given = {
        given: {
            "mean_softmax": interval(answers.mean_softmax[given] - chain),
            "block": [
                interval(there - here)
                for there, here in zip(answers.block[given], answers.block[CHAIN], strict=True)
            ],
        }
        for given in (NOISE, OTHER, LABEL)
    }
    best = int(np.argmax(answers.block[CHAIN].mean(axis=1)))
    readouts = {
        "z_T": interval(answers.z_T - chain),
        "last_block": interval(answers.block[CHAIN][-1] - chain),
        "best_block": interval(answers.block[CHAIN][best] - chain) | {"t": best + 1},
    }
    return {"given": by_given, "readouts_against_mean_softmax": readouts}


def _beside(answers: Answers, other: OpenRun, rows: LabelledRows, draws: int) -> dict[str, Any]:
    """Another network on the same rows, against this one's mean of softmaxes."""
    theirs = answers_of(other, rows.split, draws)
    spec = other.trained.network.spec
    return {
        "run": shown(other.name),
        "objective": spec.objective,
        "num_blocks": spec.num_blocks,
        "epochs": other.config.epochs if other.config else None,
        "z_T": interval(theirs.z_T),
        "mean_softmax": interval(theirs.mean_softmax[CHAIN]),
        "difference": interval(theirs.mean_softmax[CHAIN] - answers.mean_softmax[CHAIN]),
    }
