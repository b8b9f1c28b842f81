"""The time of a run follows from the speed of one block."""

from dataclasses import replace

import pytest

from noprop_dist.engine.estimate import evaluation_seconds, training_seconds
from noprop_dist.engine.speed import Speed
from runs import prepared

ROWS = {"val": 400, "test": 1000}


def test_training_is_steps_and_what_units_take_besides_shared_by_those_at_work() -> None:
    job, _, _ = prepared(num_blocks=4)
    speed = Speed(step_s=0.5, row_s=0.0, draw_s=0.0)
    one = training_seconds(job, speed, 2.0, 1, steps=120, epochs=3)
    assert one == pytest.approx(120 * 0.5 + 2.0 * 3 * 4)
    assert training_seconds(job, speed, 2.0, 2, steps=120, epochs=3) == pytest.approx(one / 2)


def test_further_noise_draws_cost_what_follows_the_features_of_an_image_alone() -> None:
    job, _, _ = prepared(num_blocks=4)
    free = Speed(step_s=1.0, row_s=0.01, draw_s=0.0)
    validation, end = 0.01 * 4 * 3 * ROWS["val"], 0.01 * 4 * (ROWS["val"] + ROWS["test"])
    assert evaluation_seconds(job, free, 1, epochs=3, **ROWS) == pytest.approx(validation + end)
    drawn = replace(free, draw_s=0.001)
    more = 4 * 0.001 * 4 * (ROWS["val"] + ROWS["test"])  # four further draws of each
    assert evaluation_seconds(job, drawn, 1, epochs=3, **ROWS) == pytest.approx(
        validation + end + more
    )


def test_what_answers_is_chosen_by_as_many_rows_and_draws_as_in_the_run() -> None:
    job, _, _ = prepared(num_blocks=1)
    drawn = Speed(step_s=1.0, row_s=0.0, draw_s=0.001)  # what further draws cost, alone
    for val, draws in ((2_000, 5), (5_000, 2), (6_000, 1), (50_000, 1)):
        found = evaluation_seconds(job, drawn, 1, epochs=3, val=val, test=0)
        assert found == pytest.approx(0.001 * min(val, 10_000) * (draws - 1))


def test_few_rows_are_evaluated_by_one_worker() -> None:
    job, _, _ = prepared()
    speed = Speed(step_s=1.0, row_s=0.01, draw_s=0.0)
    few, many = {"val": 0, "test": 100}, {"val": 0, "test": 100_000}
    alone = evaluation_seconds(job, speed, 1, epochs=1, **few)
    assert evaluation_seconds(job, speed, 2, epochs=1, **few) == alone
    shared = evaluation_seconds(job, speed, 1, epochs=1, **many) / 2
    assert evaluation_seconds(job, speed, 2, epochs=1, **many) == pytest.approx(shared)


def test_some_blocks_alone_are_not_evaluated() -> None:
    job, _, _ = prepared(blocks="1-2")
    speed = Speed(step_s=1.0, row_s=0.01, draw_s=0.01)
    assert evaluation_seconds(job, speed, 1, epochs=3, **ROWS) == 0
