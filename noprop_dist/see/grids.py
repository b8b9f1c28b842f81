"""What the page of a run says in numbers: headline numbers, and tables that can be sorted."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any

from noprop_dist.config.fields import flag
from noprop_dist.see import words
from noprop_dist.see.facts import RunFacts
from noprop_dist.text import percent

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
class Grid:
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


@dataclass(frozen=True)
class Card:
    """A headline number."""

    name: str
    value: str
    more: str = ""


def cards_of(facts: RunFacts) -> list[Card]:
    """The numbers that everyone asks for."""
    config, best = facts.config, facts.best
    cards: list[Card] = []
    if facts.result:
        for readout, name in (("z_T", "Test accuracy, z_T"), ("mean_softmax", "Mean softmax")):
            found = facts.result.test_accuracy[readout]
            more = f"\u00b1 {100 * found.stderr:.2f}, {len(found.draws)} noise draws"
            cards.append(Card(name, percent(found.mean), more))
    if best:
        cards.append(Card("Best validation", percent(best[1]), f"z_T, epoch {best[0]}"))
    epochs = f"{facts.epochs} of {config.epochs} epochs"
    cards.append(Card("Trained for", words.duration(facts.train_seconds), epochs))
    aside = f", {len(facts.set_aside)} set aside" if facts.set_aside else ""
    cards.append(Card("Blocks", str(config.num_blocks), f"{config.embedding_type}{aside}"))
    if facts.num_workers is not None:
        lost = f"Ray, {len(facts.lost) or 'none'} lost"
        cards.append(Card("Workers", str(facts.num_workers), lost))
    return cards


def blocks_of(facts: RunFacts) -> Grid:
    """A row per block: its last epoch, its part in the test, its hash."""
    heads = (
        "block", "loss (nats)", "training (%)", "after t (%)", "alone (%)", "images/s", "sha256",
    )  # fmt: skip
    rows = []
    for t, known in words.block_rows(facts):
        numbers = [
            _number(known["loss"], "{:.4f}"),
            *(_share(known[name]) for name in ("accuracy", "after_t", "own_softmax")),
            _number(known["images_per_s"], "{:,.0f}"),
        ]
        sha = str(known["sha256"] or "")
        shown = "set aside" if t in facts.set_aside else sha[: words.SHA_CHARS] or "-"
        why = facts.set_aside.get(t, sha)
        rows.append([Cell(str(t), str(t)), *numbers, Cell(shown, sha, "name", why)])
    title = (
        "Loss and training accuracy (with dropout) are of the last epoch; after t is the readout "
        "of z_t and alone the block's own softmax, both on the test images."
    )
    return Grid(title, heads, rows)


def epochs_of(facts: RunFacts) -> Grid:
    """A row per epoch; of very long runs, some."""
    heads = (
        "epoch", "loss (nats)", "training (%)", "z_T, validation (%)",
        "mean softmax, validation (%)", "learning rate",
    )  # fmt: skip
    history = facts.history
    columns = zip_longest(
        history.train_loss_history,
        history.train_accuracy_history,
        history.val_accuracy_history,
        history.val_accuracy_mean_softmax_history,
        history.lr_history,
    )
    num_epochs = max(len(found) for name, found in vars(history).items() if name != "blocks")
    every = -(-num_epochs // MAX_EPOCHS) or 1
    rows = [
        [
            Cell(str(epoch), str(epoch)),
            _number(loss, "{:.4f}"),
            _share(accuracy),
            _share(z_T),
            _share(mean),
            _number(lr, "{:.2e}"),
        ]
        for epoch, (loss, accuracy, z_T, mean, lr) in enumerate(columns, start=1)
        if epoch % every == 0 or epoch == num_epochs
    ]
    title = "Loss and training accuracy are means over the blocks."
    return Grid(title + f" One epoch of {every} is shown." * (every > 1), heads, rows)


def options_of(facts: RunFacts) -> Grid:
    """A row per option, those first that differ from their defaults."""
    changed = words.changed_options(facts.config)
    rows = []
    for f in fields(facts.config):
        kind = "changed" if f.name in changed else ""
        value, default = (
            "-" if v is None else str(v) for v in (getattr(facts.config, f.name), f.default)
        )
        rows.append(
            [
                Cell(flag(f.name), flag(f.name), f"name {kind}".strip()),
                Cell(value, value, kind),
                Cell(default, default),
                Cell(f.metadata["help"], f.metadata["help"]),
            ]
        )
    rows.sort(key=lambda row: not row[1].kind)
    title = f"{len(changed)} of {len(rows)} differ from their defaults, and come first."
    return Grid(title, ("option", "value", "default", "what it is"), rows, in_order=False)


def _share(value: Any) -> Cell:
    return _number(None if value is None else 100 * value, "{:.2f}")


def _number(value: Any, form: str) -> Cell:
    return (
        Cell("-", "")
        if value is None or math.isnan(value)
        else Cell(form.format(value), repr(value))
    )
