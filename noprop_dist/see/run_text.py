"""Numbers, times and commands of runs, as people read them."""

import math
import shlex
import time
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import as_flag
from noprop_dist.config.model_options import BLOCK_CHOICES
from noprop_dist.model.answering import READOUTS, Answering
from noprop_dist.record.result import Accuracy, measured
from noprop_dist.run_files import CHECKPOINTS, TRIAL
from noprop_dist.see.facts import RunFacts
from noprop_dist.text import SPLITS, describe_samples, duration, how_many, percent, printable, size

SHA_CHARS = 12


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")


def accuracy(found: Accuracy | None) -> str:
    """In %, or a dash."""
    return "-" if found is None else str(found)


def age(then: float | None) -> str:
    """How long ago that was, in one unit."""
    if then is None:
        return "-"
    seconds = max(time.time() - then, 0)
    for whole, unit in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds >= whole:
            count = int(seconds // whole)
            return f"{count} {unit}{'s' * (unit == 'day' and count > 1)} ago"
    return "now"


def moment(then: float | None) -> str:
    """A moment on this machine's clock, or a dash."""
    return "-" if then is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(then))


def state(facts: RunFacts) -> str:
    """The state in a few words."""
    if facts.state == "finished" and facts.set_aside:
        count = len(facts.set_aside)
        return f"finished, {count} block{'s' * (count > 1)} set aside"
    if facts.state == "running":
        return f"running ({facts.holder})"
    return facts.state


def workers(facts: RunFacts) -> str:
    """Where units ran."""
    if facts.config.executor == "local":
        return "in one process"
    if facts.num_workers is None:
        return "Ray"
    return f"Ray, {facts.num_workers} worker{'s' * (facts.num_workers > 1)}"


def epochs(facts: RunFacts) -> str:
    """How many of how many have ended."""
    ended = f"{facts.epochs} of {facts.config.epochs}"
    return f"{ended}, in its first" if facts.state == "running" and not facts.epochs else ended


def told(facts: RunFacts, *, ages: bool = True) -> list[tuple[str, str]]:
    """The facts as names and values; ``ages``: how long ago things were, too."""
    config, result, best = facts.config, facts.result, facts.history.best
    test = result.test_accuracy if result else {}
    draws = f", % ({len(test['z_T'].draws)} noise draws)" if test else ", %"
    rows = [("state", state(facts))]
    if test:
        rows += [
            (f"test accuracy of z_T{draws}", accuracy(test["z_T"])),
            (f"of the mean softmax{draws}", accuracy(test["mean_softmax"])),
        ]
        answer = result.answering.get("readout") if result else None
        if answer in test and answer not in ("z_T", "mean_softmax"):
            rows.append((f"of the answer, {READOUTS[answer]}{draws}", accuracy(test[answer])))
        of_z_T = result.test_measures.get("z_T", {}) if result else {}  # noqa: N806
        rows += [(f"{name} of z_T", value) for name, value in measured(of_z_T).items()]
    if result and result.answering:
        rows.append(("predict", Answering.from_dict(result.answering).words()))
    if best:
        rows.append(("best validation accuracy", f"{percent(best[1])} (epoch {best[0]})"))
    width = "" if config.embedding_dim is None else f", D = {config.embedding_dim}"
    blocks = how_many(config.num_blocks, "block")
    rows += [
        ("data set", config.dataset),
        ("network", f"{blocks}, {config.embedding_type} embeddings{width}"),
        *_sizes(facts),
        ("epochs", epochs(facts)),
        ("trained for", duration(facts.train_seconds)),
        ("started", moment(facts.started) + f" ({age(facts.started)})" * ages),
        ("units ran", workers(facts)),
        ("gone on with", _times(facts.restarts)),
        ("workers lost", str(len(facts.lost))),
        ("seed", str(config.seed)),
    ]
    if result:
        versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
        rows += [("precision", result.precision), ("versions", versions)]
    if result and result.num_skipped:
        rows.append(("bad images left out", str(result.num_skipped)))
    if not result:
        rows.append(("newest checkpoint", facts.checkpoint or "none"))
    return rows


def _sizes(facts: RunFacts) -> list[tuple[str, str]]:
    """How much there is to learn from, and how large the network is, as far as a log says."""
    rows, samples, cost = [], facts.samples, facts.cost
    if samples is not None:
        there = ", ".join(
            f"{sum(counts):,} {SPLITS[split]}" for split, counts in samples.counts.items()
        )
        shape = describe_samples(samples.shape)
        rows.append(("samples", f"{there}; {len(samples.class_names)} classes; {shape}"))
    if {"network_parameters", "block_parameters"} <= cost.keys():
        whole, block = f"{cost['network_parameters']:,}", f"{cost['block_parameters']:,}"
        rows.append(("parameters", f"{whole}, of a block {block}"))
    if {"network_training_bytes", "block_training_bytes"} <= cost.keys():
        whole, block = size(cost["network_training_bytes"]), size(cost["block_training_bytes"])
        rows.append(("memory, estimated", f"{whole} while all blocks train, of a block {block}"))
    if facts.peak_bytes is not None:
        rows.append(("memory, measured", f"{size(facts.peak_bytes)} at most in one process"))
    return rows


def disk(facts: RunFacts) -> tuple[str, str]:
    """What the folder takes on disk, as a name and a value."""
    used = facts.disk_bytes
    return "disk space", f"{size(used['all'])}, {size(used[CHECKPOINTS])} of it checkpoints"


def happened(facts: RunFacts) -> list[str]:
    """What went wrong on the way, a sentence each; empty where nothing did."""
    said = []
    if facts.restarts:
        said.append(f"Training was stopped and gone on with {_times(facts.restarts)}.")
    for lost in facts.lost:
        spent = f"; {lost.seconds:.1f} s of work were done again" if lost.seconds else ""
        said.append(f"Worker {lost.worker} was lost at {moment(lost.time)}: {lost.reason}{spent}.")
    for t, why in sorted(facts.set_aside.items()):
        said.append(f"Block {t} was set aside ({why}); its nearest neighbour stands in for it.")
    said += [f"Warning: {text}." for text in facts.warnings]
    return said


def block_rows(facts: RunFacts) -> Iterator[tuple[int, dict[str, float | str | None]]]:
    """By t, what is known of the block: numbers as they are, None where it is not known."""
    result, history = facts.result, facts.history.blocks

    def at(values: list[float], t: int) -> float | None:
        return values[t - 1] if t <= len(values) else None

    def last(values: list[float] | None) -> float | None:
        return values[-1] if values and math.isfinite(values[-1]) else None

    for t in range(1, facts.config.num_blocks + 1):
        own = history.get(str(t), {})
        yield (
            t,
            {
                "loss": last(own.get("loss")),
                "accuracy": last(own.get("accuracy")),
                "images_per_s": last(own.get("images_per_s")),
                "after_t": at(result.accuracy_after_t, t) if result else None,
                "own_softmax": at(result.block_accuracy, t) if result else None,
                "sha256": result.block_sha256.get(str(t)) if result else None,
            },
        )


def changed_options(config: TrainConfig) -> dict[str, Any]:
    """The options that differ from their defaults."""
    return {
        f.name: getattr(config, f.name)
        for f in fields(config)
        if getattr(config, f.name) != f.default
    }


def resume_command(facts: RunFacts) -> str:
    """The command that goes on with a run, wherever its folder lies now."""
    words = ["noprop", "train"]
    options = changed_options(facts.config)
    if not facts.config.is_placed or facts.config.folder != facts.folder.rstrip("/"):
        options["run_dir"] = facts.folder
    for name, value in options.items():
        words += as_flag(name, value)
    return " ".join(map(shell_word, words))


def shell_word(text: str) -> str:
    """A word of a command line, to be copied as it is."""
    told = printable(text)
    if told == text:
        return shlex.quote(text)
    plain = text.replace("\\", r"\\").replace("'", r"\'")
    return f"$'{printable(plain)}'"  # whose escapes bash and zsh know


def _asked_of(facts: RunFacts) -> str:
    vectors = facts.samples is not None and len(facts.samples.shape) == 1
    return "VECTORS.parquet" if vectors else "IMAGE"


def next_commands(facts: RunFacts) -> list[tuple[str, str]]:
    """Commands that make sense now, each with what it does."""
    run = shell_word(facts.folder)
    usable = facts.result is not None or facts.checkpoint is not None
    block = facts.config.block
    code = "" if block in BLOCK_CHOICES else f" --block {shell_word(block)}"
    found = []
    if facts.state == "stopped" and TRIAL not in facts.files:  # a sweep goes on with its trials
        found.append((resume_command(facts), "go on where it stopped"))
    if usable:
        found += [
            (f"noprop evaluate {run}{code}", "accuracy by class, calibration"),
            (f"noprop predict {run} {_asked_of(facts)}{code}", "the likeliest classes"),
        ]
    if facts.result is not None:
        found.append((f"noprop export {run} --format onnx{code}", "the network as one file"))
    if facts.history.num_epochs:
        found.append((f"noprop visualize {run}{code}", "pictures"))
    return found
