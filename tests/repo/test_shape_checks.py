"""Under pytest the annotated shapes and dtypes of noprop_dist.maths are checked on every call."""

import pytest
import torch
from jaxtyping import TypeCheckError

from noprop_dist.maths.loss import denoising_loss


def test_shapes_that_differ_within_one_call_raise() -> None:
    # Without the check these two would broadcast to a plausible number.
    with pytest.raises(TypeCheckError):
        denoising_loss(torch.zeros(2, 3), torch.zeros(1, 3))


def test_integers_where_floats_belong_raise() -> None:
    with pytest.raises(TypeCheckError):
        denoising_loss(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64))
