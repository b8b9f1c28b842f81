"""What a network answers by, from logits that are written down."""

import math
import re

import numpy as np
import pytest
import torch

from noprop_dist.errors import UserError
from noprop_dist.model.answering import READOUTS, UNFITTED, Answering
from noprop_dist.model.fit_answering import fit_answering
from noprop_dist.model.network import Trace


def trace_of(y: np.ndarray, skills: list[float], z_T: float) -> Trace:
    """A chain whose blocks know the labels by these margins, beside noise of width 1."""
    generator = torch.Generator().manual_seed(0)
    label = torch.nn.functional.one_hot(torch.from_numpy(y), 4).float()
    said = [
        label * skill + torch.randn(label.shape, generator=generator) for skill in [*skills, z_T]
    ]
    return Trace(torch.empty(0), torch.stack(said[:-1]), torch.stack(said[-1:]))


Y = np.random.default_rng(0).integers(0, 4, 600)


@pytest.mark.parametrize(
    ("skills", "z_T", "chosen"),
    [([0.0, 0.0, 0.0], 4.0, "z_T"), ([0.2, 5.0, 0.1], 0.0, "best_block"), ([2.0] * 5, 0.5, "mean")],
)
def test_what_is_best_on_the_validation_rows_answers(
    skills: list[float],
    z_T: float,
    chosen: str,
) -> None:
    found = fit_answering(trace_of(Y, skills, z_T), Y)
    likely = {"best_block": ("best_block", "weighted"), "mean": ("mean_softmax", "weighted")}
    assert found.readout in likely.get(chosen, (chosen,))
    assert found.scores.keys() == set(READOUTS)
    assert found.best_block == 2 or chosen != "best_block"
    assert Answering.from_dict(found.to_dict()) == found


def test_one_right_answer_more_is_chance_and_the_likelihood_decides() -> None:
    trace = trace_of(Y, [2.0], 0.0)
    answers = trace.block_logits[0].argmax(dim=1)
    wrong = int((answers != torch.from_numpy(Y)).nonzero()[0])
    answers[wrong] = int(Y[wrong])
    all_alike = 3.0 * torch.nn.functional.one_hot(answers, 4).float()  # as sure of any answer
    found = fit_answering(Trace(trace.z, trace.block_logits, all_alike[None]), Y)
    assert max(found.scores, key=lambda name: found.scores[name]["accuracy"]) == "z_T"
    assert found.readout != "z_T"


def test_few_rows_name_no_lucky_readout() -> None:
    """Of blocks that err on the same rows; of one block there is nothing to weigh."""
    trace, lucky = trace_of(Y, [0.0, 0.0, 0.0, 3.0], 0.5), 0
    logits = trace.block_logits[3:] + 0.5 * trace.block_logits[:3]
    for first in range(0, len(Y), 60):
        rows = slice(first, first + 60)
        few = Trace(trace.z, logits[:, rows], trace.readout_logits[:, rows])
        found = fit_answering(few, Y[rows])
        nats = {name: of["negative_log_likelihood"] for name, of in found.scores.items()}
        lucky += min(nats, key=lambda name: nats[name]) != "weighted"
        assert found.readout == "weighted"
    assert lucky > 1
    assert fit_answering(trace_of(Y, [2.0], 0.5), Y).readout == "last_block"


def test_draws_count_and_halves_are_scored_by_each_other() -> None:
    twice = np.tile(Y, 2)
    found = fit_answering(trace_of(twice, [1.0, 3.0], 0.0), twice, draws=2)
    assert found.rows == len(Y)
    reached = found.scores[found.readout]["accuracy"]
    doubt = 1.96 * math.sqrt(reached * (1 - reached) / len(Y))
    told = re.search(r"(\S+) \+- (\S+) % on 600 validation rows", found.words())
    assert told is not None
    assert float(told[1]) == pytest.approx(100 * reached, abs=0.006)
    assert float(told[2]) == pytest.approx(100 * doubt, rel=0.05)
    one = fit_answering(trace_of(Y[:1], [1.0, 3.0], 0.0), Y[:1])
    assert one.rows == 1


def test_probabilities_come_true() -> None:
    """Of rows that nothing was fitted on, at every readout's temperature."""
    y = np.concatenate([Y, Y])
    trace = trace_of(y, [1.5, 2.5, 0.5], 1.0)
    first = Trace(trace.z, trace.block_logits[:, :600], trace.readout_logits[:, :600])
    found = fit_answering(first, Y)
    for name in found.readouts:
        p = found.probabilities(trace, name)[600:].numpy()
        right = p.argmax(axis=1) == Y
        assert abs(p.max(axis=1).mean() - right.mean()) < 0.05


def test_nothing_fitted_answers_as_the_paper_does() -> None:
    trace = trace_of(Y, [1.0, 2.0], 1.0)
    assert torch.equal(UNFITTED.probabilities(trace, "z_T"), trace.z_T_logits.softmax(dim=1))
    assert torch.equal(UNFITTED.probabilities(trace, "mean_softmax"), trace.mean_softmax)
    assert UNFITTED.named("auto") == "z_T"
    assert "not calibrated" in UNFITTED.words()
    with pytest.raises(UserError, match="when a run ends"):
        UNFITTED.named("weighted")
