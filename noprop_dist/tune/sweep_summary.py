"""What a sweep has found, for people: a table of a few letters a cell, and where the rest is."""

from noprop_dist.text import duration, percent, printable
from noprop_dist.tune.per_block import PerBlock
from noprop_dist.tune.sweep_results import TEN, SweepResult
from noprop_dist.tune.trial_table import counted, failures_of, table_of


def render(result: SweepResult) -> str:
    """What a person wants to know at the end: the ten best, and where the rest is."""
    folder = printable(result.folder)
    lines = [counted(result.rows) or "no trial has begun"]
    best = result.rows[:TEN]
    if result.per_block is not None:
        numbers = {block["trial"] for block in result.per_block.blocks.values()}
        best = [row for row in result.rows if row["trial"] in numbers]
    lines += table_of(best, result.searched)
    if result.per_block is not None:
        lines += render_per_block(result.per_block)
    lines += failures_of(result.rows)
    if result.seconds:
        lines.append(f"searched for {duration(result.seconds)}")
    if not result.complete:
        lines.append("the same command goes on with the trials that are left")
    if result.settings:
        lines.append(f"best settings in {folder}/best_config.yaml")
    lines.append(f"results in {folder}")
    return "\n".join(lines)


def render_per_block(found: PerBlock) -> list[str]:
    """What tuning each block alone has bought."""
    lines = []
    for name, network in (
        ("best of each block", found.best_of_each),
        ("one setting for all", found.one_for_all),
    ):
        if network is not None:
            test = network.test_accuracy
            lines.append(
                f"{name:<20} test z_T {test} %, validation {percent(network.val_accuracy)}"
            )
    if found.num_on_all < found.num_settings:
        lines.append(
            f"every block was trained to the end with {found.num_on_all} of {found.num_settings} "
            "settings"
        )
    return lines
