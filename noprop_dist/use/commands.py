"""``noprop evaluate``, ``predict`` and ``export``: argv -> options -> call -> say what came out.

Heavy imports come after parsing, as in ``noprop_dist.cli``.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from noprop_dist.errors import UserError, needing_ray
from noprop_dist.options import parse_own
from noprop_dist.text import how_many, json_line, printable
from noprop_dist.use.flags import EvaluateOptions, ExportOptions, PredictOptions

if TYPE_CHECKING:
    from noprop_dist.data.account import PassedOver
    from noprop_dist.data.pictures import BadPicture
    from noprop_dist.use.opening import OpenRun
    from noprop_dist.use.predict import Answer, Found, Predictor, Question

BAD_PICTURES = 1


def run_evaluate(argv: Sequence[str], prog: str, text: str) -> int:
    """Evaluate, write and print. Returns the exit code."""
    options = parse_own(argv, prog, text, EvaluateOptions)
    from noprop_dist.record.folder import home_of
    from noprop_dist.record.store import Store, inside
    from noprop_dist.use.evaluate import PICTURE, draw_evaluation, evaluate, write_evaluation
    from noprop_dist.use.opening import open_run
    from noprop_dist.use.rendering import render_evaluation
    from noprop_dist.use.rows import rows_for

    run = open_run(options.run, options.device, options.precision, options.block)
    _say(run.notes)
    folder = options.output or home_of(options.run)
    Store(folder, "--output").check_writable()
    rows = rows_for(
        run,
        options.split,
        dataset=options.dataset,
        data_dir=options.data_dir,
        image_size=options.image_size,
        skip_bad=options.skip_bad_images,
        other_names=options.other_names,
    )
    _say(rows.notes)
    if rows.num_skipped:
        _say([f"left out {how_many(rows.num_skipped, 'bad image')} of {rows.dataset}"])
    evaluation = evaluate(run, rows, draws=options.draws, batch=options.batch_size)
    write_evaluation(evaluation, folder)
    told = json_line(evaluation) if options.json else render_evaluation(evaluation, folder)
    print(told, flush=True)
    if draw_evaluation(evaluation, folder) and not options.json:
        print(printable(f"picture in {inside(folder, PICTURE)}"))
    return 0


def run_predict(argv: Sequence[str], prog: str, text: str) -> int:
    """Classify picture by picture. Returns the exit code."""
    options = parse_own(argv, prog, text, PredictOptions)
    from noprop_dist.data.account import PassedOver, in_words, not_shown
    from noprop_dist.data.parquet_files import is_parquet
    from noprop_dist.data.pictures import BadPicture, Limits
    from noprop_dist.model.network import samples_at_once
    from noprop_dist.record.progress import shown_work
    from noprop_dist.use.opening import open_run
    from noprop_dist.use.predict import Answer, Predictor, Question, predict
    from noprop_dist.use.writers import open_writer

    vectors = all(map(is_parquet, options.images))
    if options.image_column is not None and not vectors:
        raise UserError("--image-column is for Parquet files, not for pictures: leave it out.")
    run = open_run(options.run, options.device, options.precision, options.block)
    _say(run.notes)
    limits = Limits(options.max_bytes, options.max_pixels)
    asked = (options.readout, options.top_k, options.draws, options.seed)
    question = Question(*asked, limits, vectors)
    predictor = Predictor(run.trained, question)
    batch_size = options.batch_size or samples_at_once(run.trained.device)
    passed_over = PassedOver()
    count, found = _asked_about(options, run, predictor, passed_over)
    if options.ray:
        batches = _on_ray(run, question, found, batch_size)
    else:
        batches = predict(predictor, found, batch_size, device=run.trained.device.type)
    good = bad = 0
    # Answers that scroll by on a terminal are their own progress.
    silent = options.output is None and sys.stdout.isatty()
    with (
        open_writer(
            options.format, options.output, run.trained.class_names, rows=question.vectors
        ) as write,
        (not_shown if silent else shown_work)("predicting", count) as done,
    ):
        _say([predictor.answers_by])
        for batch in batches:
            answers = [answer for answer in batch if isinstance(answer, Answer)]
            write(answers)
            done(len(batch))
            good += len(answers)
            for item in batch:
                if isinstance(item, BadPicture):
                    bad += 1
                    _say([f"left out {item.path}: it {item.reason}"])
    if bad:
        _say([f"left out {bad} of {good + bad}"])
    if passed_over:
        _say([f"passed over: {in_words(passed_over)}"])
    if bad and not good:
        raise UserError(f"none of {bad} could be classified: give pictures that can be read.")
    return BAD_PICTURES if bad else 0


def _asked_about(
    options: PredictOptions, run: "OpenRun", predictor: "Predictor", passed_over: "PassedOver"
) -> "tuple[int | None, Iterable[Found]]":
    """Pictures, or rows of vectors, and how many of them where that is known."""
    if not predictor.question.vectors:
        from noprop_dist.data.pictures import find_pictures

        return None, find_pictures(options.images, passed_over)
    from noprop_dist.data.vectors import vector_rows

    trained_on = run.config.image_column if run.config and not run.trained.backbone else None
    (width,) = predictor.shape
    return vector_rows(options.images, width, options.image_column or trained_on)


def _on_ray(
    run: "OpenRun", question: "Question", found: "Iterable[Found]", size: int
) -> "Iterator[list[Answer | BadPicture]]":
    with needing_ray("Ray is not installed: install ray[data], or leave --ray out."):
        from noprop_dist.use.on_ray.actors import predict_on_ray
    from noprop_dist.use.predict import batches_of

    return predict_on_ray(run, question, batches_of(found, size))


def run_export(argv: Sequence[str], prog: str, text: str) -> int:
    """Export and check. Returns the exit code."""
    options = parse_own(argv, prog, text, ExportOptions)
    from noprop_dist.use.export import export_network
    from noprop_dist.use.opening import open_run
    from noprop_dist.use.rendering import render_exported
    from noprop_dist.use.rows import rows_for

    run = open_run(options.run, options.device, "fp32", options.block)
    _say(run.notes)
    side = run.shape[1] if len(run.shape) == 3 and run.shape[1] == run.shape[2] else None
    rows = rows_for(
        run,
        dataset=options.dataset,
        data_dir=options.data_dir,
        image_size=side if options.dataset is not None else None,
        skip_bad=True,
        other_names=True,
    )
    exported = export_network(run, rows, options.format, options.output, options.draws)
    print(json_line(asdict(exported)) if options.json else render_exported(exported))
    return 0


def _say(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(printable(sentence), file=sys.stderr)
