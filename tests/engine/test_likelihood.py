"""What probabilities come to, against PyTorch and scikit-learn."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, top_k_accuracy_score
from torch.nn.functional import nll_loss

from noprop_dist.engine.likelihood import likelihood
from noprop_dist.model.network import Trace


def said(y: np.ndarray, num_classes: int, seed: int) -> list[Trace]:
    """Two draws of three blocks that lean to the label."""
    draw = torch.Generator().manual_seed(seed)
    lean = torch.nn.functional.one_hot(torch.from_numpy(y), num_classes)
    logits = [torch.randn(2, 3, len(y), num_classes, generator=draw) + lean for _ in range(2)]
    return [Trace(torch.empty(0), *parts) for parts in logits]


@pytest.mark.parametrize("num_classes", [2, 4, 9])
def test_measures_are_those_of_the_libraries_and_batches_add_up(num_classes: int) -> None:
    batches = [np.random.default_rng(i).integers(0, num_classes, 40 + i) for i in range(3)]
    traces = [said(y, num_classes, i) for i, y in enumerate(batches)]
    found = reduce(add, map(likelihood, batches, traces)).measures(123, num_classes)
    y = np.concatenate(batches)
    for r, kind in enumerate(("z_T_logits", "mean_softmax")):
        draws = [torch.cat([getattr(t[s], kind) for t in traces]).double() for s in range(2)]
        p = torch.stack(draws if r else [logits.softmax(dim=1) for logits in draws]).numpy()
        expected = {
            "negative_log_likelihood": np.mean(
                [nll_loss(torch.from_numpy(q).log(), torch.from_numpy(y)) for q in p]
            )
        }
        if num_classes > 5:
            expected["top5_accuracy"] = np.mean([top_k_accuracy_score(y, q, k=5) for q in p])
        if num_classes == 2:
            expected["auroc"] = np.mean([roc_auc_score(y, q[:, 1]) for q in p])
        assert found[r] == pytest.approx(expected, rel=1e-5)


def test_a_probability_that_rounds_to_nothing_has_a_finite_logarithm() -> None:
    y, logits = np.array([1, 1]), torch.tensor([200.0, 0.0]).expand(1, 2, 2)
    found = likelihood(y, [Trace(torch.empty(0), logits, logits)]).measures(2, 2)
    assert [of["negative_log_likelihood"] for of in found] == pytest.approx([200] * 3)
    assert "auroc" not in found[0]  # of one class
