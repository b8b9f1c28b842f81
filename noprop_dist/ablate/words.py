"""An ablation as tables and as plain sentences, all made from its numbers."""

from typing import Any

from noprop_dist.ablate.answers import CHAIN, GIVEN, LABEL, NOISE, OTHER
from noprop_dist.text import aligned, how_many, percent, printable

TOLD = {
    CHAIN: "z of the chain",
    NOISE: "noise of its spread",
    OTHER: "another picture's z",
    LABEL: "the true label's z",
}
MOST_COLUMNS = 12  # of blocks in the table; more are told by some of them


def points(found: dict[str, float]) -> str:
    """A difference of accuracies in points, with its 95 % interval."""
    return f"{100 * found['mean']:+z.2f} +- {100 * found['half_width']:.2f}"


def is_clear(found: dict[str, float]) -> bool:
    """Whether the 95 % interval of a difference leaves out 0."""
    return abs(found["mean"]) > found["half_width"]


def in_words(ablation: dict[str, Any]) -> list[str]:
    """Does z help, where, how much; a sentence each."""
    by_given = ablation["differences"]["given"]
    accuracy = ablation["accuracy"]["mean_softmax"]
    lost = by_given[NOISE]["mean_softmax"]
    verdict = "makes no difference that can be seen on these images"
    if is_clear(lost):
        verdict = "helps" if lost["mean"] < 0 else "hurts"
    said = [
        f"z {verdict}: with noise of its spread in its place the mean of softmaxes is right on "
        f"{percent(accuracy[NOISE]['mean'])}, with the chain's z on "
        f"{percent(accuracy[CHAIN]['mean'])} ({points(lost)} points)."
    ]
    drops = [found["mean"] if is_clear(found) else 0.0 for found in by_given[NOISE]["block"]]
    worst = min(range(len(drops)), key=drops.__getitem__)
    if drops[worst] < 0:
        said.append(
            f"Block {worst + 1} needs it most: with such noise its own answers change by "
            f"{points(by_given[NOISE]['block'][worst])} points."
        )
    misled = [t for t, found in enumerate(by_given[OTHER]["block"], 1) if found["mean"] < -0.5]
    if misled:
        said.append(
            f"Given another picture's z, {_blocks(misled)} by more than 50 points: there z "
            "counts for more than the picture."
        )
    readouts = ablation["differences"]["readouts_against_mean_softmax"]
    best = readouts["best_block"]
    said.append(
        f"Against the mean of softmaxes z_T has {points(readouts['z_T'])} points and the best "
        f"single block, {best['t']}, {points(best)}."
    )
    said += [_other(other) for other in ablation["others"]]
    return said


def _blocks(which: list[int]) -> str:
    return (
        f"blocks {', '.join(map(str, which))} fall" if len(which) > 1 else f"block {which[0]} falls"
    )


def _other(other: dict[str, Any]) -> str:
    found = other["difference"]
    by = f"by {points(found)} points (mean of softmaxes)"
    if not is_clear(found):
        return f"Beside it {called(other)} differs {by}, which these images cannot tell from 0."
    return f"Beside it {called(other)} is {'better' if found['mean'] > 0 else 'worse'} {by}."


def called(other: dict[str, Any]) -> str:
    """Another network by what it is."""
    blocks = how_many(other["num_blocks"], "block")
    epochs = f", {how_many(other['epochs'], 'epoch')}" if other["epochs"] else ""
    what = "an ensemble without z" if other["objective"] == "none" else other["objective"]
    return f"{what} of {blocks}{epochs}"


def render(ablation: dict[str, Any]) -> str:
    """Tables of accuracies, and the sentences."""
    a, accuracy = ablation, ablation["accuracy"]
    num_blocks = len(accuracy["block"][CHAIN])
    step = -(-num_blocks // MOST_COLUMNS)
    columns = [*range(num_blocks, 0, -step)][::-1]
    head = ["given as z", *(f"block {t}" for t in columns), "mean of softmaxes", "z_T"]
    rows = [
        [
            TOLD[given],
            *(percent(accuracy["block"][given][t - 1], ".1f", "") for t in columns),
            _with_interval(accuracy["mean_softmax"][given]),
            _with_interval(accuracy["z_T"]) if given == CHAIN else "",
        ]
        for given in GIVEN
    ]
    lines = [
        f"{a['images']:,} images of {printable(a['dataset'])} ({a['split']}), "
        f"{how_many(a['draws'], 'noise draw')}, {a['precision']}; accuracy, %, with 95 % intervals",
        "",
        *aligned([head, *rows]),
    ]
    if a["others"]:
        head = ["on the same images", "mean of softmaxes", "z_T", "difference, points"]
        others = [
            [
                called(other),
                _with_interval(other["mean_softmax"]),
                _with_interval(other["z_T"]),
                points(other["difference"]),
            ]
            for other in a["others"]
        ]
        lines += ["", *aligned([head, *others])]
    return "\n".join([*lines, "", *a["words"]])


def _with_interval(found: dict[str, float]) -> str:
    return f"{100 * found['mean']:.2f} +- {100 * found['half_width']:.2f}"
