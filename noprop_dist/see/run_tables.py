"""What is told of a run in numbers: headline numbers, and tables for a page or a terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from noprop_dist.config.fields import flag
from noprop_dist.model.answering import READOUTS
from noprop_dist.record.history import NESTED
from noprop_dist.see import run_text
from noprop_dist.see.facts import RunFacts
from noprop_dist.text import SPLITS, duration, how_many, percent, printable

MOST_CLASSES = 20  # of more, two are shown
MAX_EPOCHS = 1000  # rows of the table; of more, every second, third, ... is shown


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        value: what the column is sorted by; empty where it is not known.
        kind: its class.
        hint: what is told of it on a closer look.
    """

    text: str
    value: str
    kind: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted.

    Attributes:
        title: a sentence or two on what is in it.
        heads: of the columns.
        rows: cells.
        in_order: whether the rows are sorted by their first column.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    in_order: bool = True


def headlines_of(facts: RunFacts) -> list[tuple[str, str, str]]:
    """The numbers that everyone asks for: name, value, and more on it."""
    config, best = facts.config, facts.history.best
    found = []
    if facts.result:
        shown = {"z_T": "Test accuracy, z_T", "mean_softmax": "Mean softmax"}
        answer = facts.result.answering.get("readout")
        if answer in shown:
            shown[answer] += ", which answers"
        elif answer in facts.result.test_accuracy:
            shown[answer] = f"What answers, {READOUTS[answer]}"
        for readout, name in shown.items():
            reached = facts.result.test_accuracy[readout]
            margin = "" if reached.margin is None else f"\u00b1 {100 * reached.margin:.2f}, "
            more = f"{margin}{len(reached.draws)} noise draws"
            found.append((name, percent(reached.mean), more))
    if best:
        found.append(("Best validation", percent(best[1]), f"z_T, epoch {best[0]}"))
    epochs = f"{facts.epochs} of {how_many(config.epochs, 'epoch')}"
    found.append(("Trained for", duration(facts.train_seconds), epochs))
    aside = f", {len(facts.set_aside)} set aside" if facts.set_aside else ""
    found.append(("Blocks", str(config.num_blocks), f"{config.embedding_type}{aside}"))
    if facts.num_workers is not None:
        lost = f"Ray, {len(facts.lost) or 'none'} lost"
        found.append(("Workers", str(facts.num_workers), lost))
    return found


def blocks_of(facts: RunFacts) -> Table:
    """A row per block: its last epoch, its part in the test, its hash."""
    heads = (
        "block", "loss (nats)", "training (%)", "after t (%)", "alone (%)", "images/s", "sha256",
    )  # fmt: skip
    rows = []
    for t, known in run_text.block_rows(facts):
        sha = str(known["sha256"] or "")
        shown = "set aside" if t in facts.set_aside else sha[: run_text.SHA_CHARS] or "-"
        rows.append(
            [
                _number(t, "d"),
                _number(known["loss"], ".4f"),
                *(_number(known[name], ".2f", 100) for name in ("accuracy", "after_t")),
                _number(known["own_softmax"], ".2f", 100),
                _number(known["images_per_s"], ",.0f"),
                Cell(shown, sha, "name", facts.set_aside.get(t, sha)),
            ]
        )
    title = (
        "Loss and training accuracy (with dropout) are of the last epoch; after t is the readout "
        "of z_t and alone the block's own softmax, both on the test images."
    )
    return Table(title, heads, rows)


def classes_of(facts: RunFacts) -> Table:
    """A row per class, its samples by split; of many classes the smallest and the largest."""
    samples, title = facts.samples, "Samples of every class."
    if samples is None:
        return Table(title, (), ())
    order = list(range(len(samples.class_names)))
    if len(order) > MOST_CLASSES:
        by_size = sorted(order, key=lambda k: (samples.counts["train"][k], k))
        title = f"Samples of the smallest and the largest of {len(order)} classes in training."
        order = [by_size[0], by_size[-1]]
    rows = []
    for k in order:
        name = printable(samples.class_names[k])
        numbers = (_number(counts[k], ",d") for counts in samples.counts.values())
        rows.append([Cell(name, name, "name"), *numbers])
    heads = ("class", *(SPLITS[split] for split in samples.counts))
    return Table(title, heads, rows, in_order=False)


def epochs_of(facts: RunFacts) -> Table:
    """A row per epoch; of very long runs, some."""
    history = facts.history
    columns = (  # head, numbers, their format and scale
        ("loss (nats)", history.train_loss_history, ".4f", 1),
        ("training (%)", history.train_accuracy_history, ".2f", 100),
        ("z_T, validation (%)", history.val_accuracy_history, ".2f", 100),
        ("mean softmax, validation (%)", history.val_accuracy_mean_softmax_history, ".2f", 100),
        ("learning rate", history.lr_history, ".2e", 1),
    )
    num_epochs = max(len(found) for name, found in vars(history).items() if name not in NESTED)
    every = -(-num_epochs // MAX_EPOCHS) or 1
    rows = [
        [_number(epoch, "d")]
        + [_number(v, form, by) for v, (*_, form, by) in zip(values, columns, strict=True)]
        for epoch, values in enumerate(zip_longest(*(numbers for _, numbers, *_ in columns)), 1)
        if epoch % every == 0 or epoch == num_epochs
    ]
    title = "Loss and training accuracy are means over the blocks."
    title += f" One epoch of {every} is shown." * (every > 1)
    return Table(title, ("epoch", *(head for head, *_ in columns)), rows)


def options_of(facts: RunFacts) -> Table:
    """A row per option, those first that differ from their defaults."""
    changed = run_text.changed_options(facts.config)
    rows = []
    for f in sorted(fields(facts.config), key=lambda f: f.name not in changed):
        kind = "changed" if f.name in changed else ""
        value, default = (
            "-" if v is None else str(v) for v in (getattr(facts.config, f.name), f.default)
        )
        texts = (flag(f.name), value, default, f.metadata["help"])
        kinds = (f"name {kind}".strip(), kind, "", "")
        rows.append([Cell(text, text, kind) for text, kind in zip(texts, kinds, strict=True)])
    title = f"{len(changed)} of {len(rows)} differ from their defaults, and come first."
    return Table(title, ("option", "value", "default", "what it is"), rows, in_order=False)


def _number(value: Any, form: str, by: int = 1) -> Cell:
    if value is None or math.isnan(value):
        return Cell("-", "")
    return Cell(format(by * value, form), repr(by * value))
