"""How long a run takes, from how fast one block is."""

import math

from noprop_dist.engine.evaluate import EVAL_ROWS
from noprop_dist.engine.finish import TEST_DRAWS, fitted_on
from noprop_dist.engine.job import Job
from noprop_dist.engine.speed import Speed


def training_seconds(
    job: Job, speed: Speed, unit_s: float, slots: int, *, steps: int, epochs: int
) -> float:
    """Of all blocks' training.

    Args:
        job: the run.
        speed: of one block, with as many at work as in the run.
        unit_s: seconds that a unit takes beside its steps.
        slots: units at once.
        steps: that all blocks together have before them.
        epochs: that they have before them.
    """
    return (speed.step_s * steps + unit_s * epochs * len(job.config.chosen)) / slots


def evaluation_seconds(
    job: Job, speed: Speed, slots: int, *, epochs: int, val: int, test: int
) -> float:
    """Of all validations, which share the workers with training, and of what comes after it.

    All noise draws of an image share its features: each further one costs the rest of a block.

    Args:
        job: the run.
        speed: of one block, with as many at work as in the run.
        slots: units at once.
        epochs: that the run has before it.
        val: validation rows, after each epoch with one noise draw, and at the end as
            ``fitted_on`` says.
        test: test rows, at the end, with TEST_DRAWS.
    """
    if job.config.blocks is not None:
        return 0.0  # some blocks are no network
    validation = epochs * val * speed.row_s / slots
    after = sum(
        num_rows
        * (speed.row_s + (draws - 1) * speed.draw_s)
        / min(slots, math.ceil(num_rows / EVAL_ROWS))
        for num_rows, draws in (fitted_on(job.spec, val), (test, TEST_DRAWS))
        if num_rows
    )
    return job.spec.num_blocks * (validation + after)
