"""What the numbers say, in sentences: which method is better where, without favour."""

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import TypeVar

from noprop_dist.compare.compare_options import METHODS, NOPROP, TWIN
from noprop_dist.compare.method_rows import MIB, Facts, Row
from noprop_dist.maths.chance import doubt
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.text import how_many

NAMES = {method: told.name for method, told in METHODS.items()}
T = TypeVar("T")
FEW = 3  # methods of which all pairs are told
CLOSE = 1.05  # ratios below this are "as much": such measurements differ more between two runs
_ALONE = "; what another seed would give, one seed does not tell"


def sentences(rows: Sequence[Row], facts: Facts) -> list[str]:
    """One sentence for each thing that can be said of these rows."""
    said = [_accuracy(a, b, facts) for a, b in _pairs(rows)]
    said += [_speed(a, b) for a, b in _pairs(rows)]
    said += _target(rows, facts)
    said += _traffic(rows, facts)
    said += _efficiency(rows)
    said += _memory(rows)
    return said


def _pairs(rows: Sequence[T]) -> list[tuple[T, T]]:
    """Every two of few; of many the first with each other."""
    return list(combinations(rows, 2)) if len(rows) <= FEW else [(rows[0], b) for b in rows[1:]]


def _accuracy(a: Row, b: Row, facts: Facts) -> str:
    """Who is more accurate, or that so few seeds and images cannot tell."""
    seeds = sorted(a.by_seed.keys() & b.by_seed.keys())
    ours, theirs = ([row.by_seed[seed] for seed in seeds] for row in (a, b))
    points = 100 * (fmean(ours) - fmean(theirs))
    least = 100 * doubt(ours, theirs, facts.test_images)
    images = f"{facts.test_images:,} test images"
    if abs(points) < least:
        many, of = f"{len(seeds)} seeds and {images}", "of the seeds and of the images"
        if len(seeds) == 1:
            many, of = f"one seed and {images}", f"of the images{_ALONE}"
        return (
            f"{_name(a)} and {NAMES[b.method]} are equally accurate as far as {many} can tell: "
            f"they differ by {abs(points):.2f} points, and less than {least:.2f} may be chance "
            f"{of}."
        )
    better, worse = (a, b) if points > 0 else (b, a)
    of = f"of {len(seeds)} seeds and {images}"
    if len(seeds) == 1:
        of = f"of {images}{_ALONE}"
    return (
        f"{_name(better)} is more accurate than {NAMES[worse.method]} by {abs(points):.2f} points "
        f"(less than {least:.2f} could be chance {of})."
    )


def _speed(a: Row, b: Row) -> str:
    quick, slow = sorted((a, b), key=lambda row: row.seconds_per_epoch)
    ratio = slow.seconds_per_epoch / quick.seconds_per_epoch
    if ratio < CLOSE:
        return (
            f"An epoch takes {NAMES[a.method]} and {NAMES[b.method]} equally long "
            f"({a.seconds_per_epoch:.2f} s and {b.seconds_per_epoch:.2f} s)."
        )
    return (
        f"An epoch takes {NAMES[slow.method]}{_on(slow)} {ratio:.2f} times as long as "
        f"{NAMES[quick.method]}{_on(quick)} ({slow.seconds_per_epoch:.2f} s against "
        f"{quick.seconds_per_epoch:.2f} s)."
    )


def _target(rows: Sequence[Row], facts: Facts) -> list[str]:
    """Who needs less time, and less computing, for the target accuracy."""
    goal = f"{100 * facts.target_accuracy:g} % of the validation images"
    said = [
        f"{_name(row)} did not reach {goal} {'with every seed ' * (row.seeds > 1)}in "
        f"{how_many(facts.epochs, 'epoch')}."
        for row in rows
        if row.seconds_to_target is None and facts.val_images
    ]
    reached = [
        (row, row.seconds_to_target, row.epochs_to_target)
        for row in rows
        if row.seconds_to_target is not None and row.epochs_to_target is not None
    ]
    for (a, a_s, a_epochs), (b, b_s, b_epochs) in _pairs(reached):
        ratio = (a_s * a.devices) / (b_s * b.devices)
        if max(ratio, 1 / ratio) < CLOSE:
            verdict = "as much device time"
        else:
            verdict = f"{ratio:.2f} times the device time"
        said.append(
            f"To {goal} {NAMES[a.method]} needs {a_s:.1f} s and {_epochs(a_epochs)}, "
            f"{NAMES[b.method]} {b_s:.1f} s and {_epochs(b_epochs)}: "
            f"{NAMES[a.method]} takes {verdict} for that accuracy."
        )
    return said


def _epochs(mean: float) -> str:
    return f"{mean:.3g} epoch{'s' * (mean != 1)}"


def _traffic(rows: Sequence[Row], facts: Facts) -> list[str]:
    by_method = {row.method: row for row in rows}
    noprop, twin = by_method.get(NOPROP), by_method.get(TWIN)
    said = []
    if noprop is not None and noprop.sent_bytes is not None:
        turns = facts.workers < facts.num_blocks
        said.append(
            f"NoProp sends {noprop.sent_bytes / MIB:,.1f} MiB an epoch through the object store: "
            "states of blocks, to validate and save them"
            + f" and because {facts.num_blocks} take turns on {facts.workers} devices" * turns
            + ", and no gradient."
        )
    if twin is not None and twin.sent_bytes and facts.workers > 1:
        much = ""
        if noprop is not None and noprop.sent_bytes:
            ratio = twin.sent_bytes / noprop.sent_bytes
            much = f", {1 / ratio:,.1f} times less than NoProp"
            if ratio >= 1:
                much = f", {ratio:,.1f} times as much as NoProp"
        said.append(f"The twin sends {twin.sent_bytes / MIB:,.1f} MiB of gradients over TCP{much}.")
    if twin is not None and twin.sent_bytes is None and twin.reduced_bytes:
        said.append(
            f"Each of the twin's workers gives {twin.reduced_bytes / MIB:,.1f} MiB an epoch to the "
            "all-reduce; what NCCL makes of it between GPUs is not counted."
        )
    waits = "meet once an epoch" if IS_TRAINED[facts.embedding] else "never wait for one another"
    if twin is not None and facts.workers > 1:
        said.append(
            f"The twin's workers wait for one another at every step, "
            f"{how_many(facts.steps_per_epoch, 'time')} an epoch"
            + (f"; NoProp's blocks {waits}." if noprop is not None else ".")
        )
    return said


def _efficiency(rows: Sequence[Row]) -> list[str]:
    return [
        f"{row.devices} devices do {row.efficiency * row.devices:.2f} times the work of one for "
        f"{NAMES[row.method]}, an efficiency of {100 * row.efficiency:.0f} %."
        for row in rows
        if row.efficiency is not None
    ]


def _memory(rows: Sequence[Row]) -> list[str]:
    """What a worker needs beside what it maps of the object store, which a node has once."""
    said = []
    known = [(row, row.own_bytes) for row in rows if row.own_bytes is not None]
    for pair in _pairs(known):
        (less, less_bytes), (more, more_bytes) = sorted(pair, key=lambda known: known[1])
        said.append(
            f"A worker of {NAMES[more.method]} needs {more_bytes / max(less_bytes, 1):.2f} times "
            f"the memory of one of {NAMES[less.method]}, beside what it maps of the object store "
            f"({more_bytes / MIB:,.0f} MiB against {less_bytes / MIB:,.0f})."
        )
    return said


def _name(row: Row) -> str:
    name = NAMES[row.method]
    return name[0].upper() + name[1:]


def _on(row: Row) -> str:
    return f" on {row.devices} devices" if row.devices > 1 else " on one device"
