"""The command line: argv -> options -> call -> say where the results are.

Heavy imports come after parsing, so that ``--help`` and a mistyped option answer at once.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

from noprop_dist.ablate.command import run_ablate
from noprop_dist.benchmarks.commands import run_benchmark
from noprop_dist.errors import UserError
from noprop_dist.options import MergeOptions, parse_command, parse_own, parse_with
from noprop_dist.outputs import OutputError, standard_streams
from noprop_dist.see.commands import (
    run_card,
    run_push,
    run_runs,
    run_show,
    run_trace,
    run_visualize,
)
from noprop_dist.signals import StopSignals
from noprop_dist.text import duration, json_line, printable
from noprop_dist.use.commands import run_evaluate, run_export, run_predict

if TYPE_CHECKING:
    from noprop_dist.record.result import TrainResult
    from noprop_dist.training import TrainedBlocks

BAD_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """``noprop``: the console command. Returns the exit code, as ``exit_code`` does."""
    return _dispatch(list(sys.argv[1:] if argv is None else argv), "noprop")


def run_job(name: str) -> int:
    """A command as ``python jobs/NAME.py``. Returns the exit code, as ``exit_code`` does."""
    return _dispatch([name, *sys.argv[1:]], f"python jobs/{name}.py", 1)


def _dispatch(words: Sequence[str], prog: str, told: int = 0) -> int:
    """Run the command that the first words name; ``prog`` stands for ``told`` of them already."""
    for count in (2, 1):
        name = " ".join(words[:count])
        if name in COMMANDS:
            run, text, stopped = COMMANDS[name]
            called = " ".join([prog, *words[told:count]])
            return exit_code(partial(run, words[count:], called, text), stopped)
    return exit_code(lambda: _say_what_there_is(words))


def exit_code(action: Callable[[], int], stopped: str = "stopped") -> int:
    """Do it: the one door of every command and job to standard output, to signals and out.

    Args:
        action: what to do; returns an exit code.
        stopped: what to say where a signal ends it.

    Returns:
        The action's own code; 2, with the sentence on standard error, for bad input or where
        standard output cannot be written; 130 when stopped by Ctrl-C, SIGTERM or SIGHUP; 141 where
        whoever reads standard output has closed it.
    """
    with standard_streams(), StopSignals():
        try:
            try:
                return action()
            except UserError as error:
                print(f"error: {error}", file=sys.stderr)
                return BAD_INPUT
            except KeyboardInterrupt:
                print(stopped, file=sys.stderr)
                return INTERRUPTED
            finally:
                sys.stdout.flush()
        except OutputError as error:
            if error.closed:  # by "| head", which has seen enough
                return PIPE_CLOSED
            print(
                f"error: standard output cannot be written ({error}): send it somewhere else; what "
                "a command writes to files is there before it prints.",
                file=sys.stderr,
            )
            return BAD_INPUT


def _say_what_there_is(words: Sequence[str]) -> int:
    """Answer words that name no command: ``--help``, ``--version``, or half a name."""
    if words[:1] == ["--version"]:
        from noprop_dist import __version__

        print(f"noprop-dist {__version__}")
        return 0
    group = (
        f"{words[0]} "
        if words and any(name.startswith(f"{words[0]} ") for name in COMMANDS)
        else ""
    )
    listed = {name.removeprefix(group): v[1] for name, v in COMMANDS.items() if group in name}
    rest = words[bool(group) :]
    asked = rest[:1] in (["-h"], ["--help"])
    if rest and not asked:
        near = get_close_matches(rest[0], [name.split()[0] for name in listed], n=1)
        hint = f"; did you mean {near[0]}?" if near else ";"
        raise UserError(
            f"unknown command {group}{rest[0]}{hint} noprop {group}--help lists the commands."
        )
    width = max(map(len, listed))
    told = [
        f"usage: noprop {group}COMMAND [OPTIONS]",
        "",
        *(f"  {name:{width}}  {text}" for name, text in listed.items()),
        "",
        f"noprop {group}COMMAND --help lists the options of a command.",
    ]
    print("\n".join(told), file=sys.stdout if asked else sys.stderr)
    return 0 if asked else BAD_INPUT


def _run_train(argv: Sequence[str], prog: str, text: str) -> int:
    command = parse_command(argv, prog, text)
    if command.config.dry_run:
        from noprop_dist.plan import dry_run, plan

        try:
            report = dry_run(command.config, len(command.repeats))
        except KeyboardInterrupt:
            print("stopped; a dry run leaves nothing", file=sys.stderr)
            return INTERRUPTED
        print(json_line(report) if command.as_json else plan(report))
        return 0
    from noprop_dist.record.progress import say
    from noprop_dist.training import StoppedError, train, train_blocks

    began = time.monotonic()
    results: list[TrainResult] = []
    try:
        if command.config.blocks is not None:
            trained = train_blocks(command.config)
            return _say_blocks(trained, command.as_json, time.monotonic() - began)
        for config in command.repeats:
            if command.seeds > 1 and not config.quiet:
                say(_begins(config.seed, len(results), command.seeds, time.monotonic() - began))
            results.append(train(config))
    except StoppedError as stopped:
        print(f"stopped; the same command goes on from {stopped.folder}", file=sys.stderr)
        return INTERRUPTED
    if len(results) > 1:
        return _say_results(results, command.as_json)
    return _say_result(results[0], command.as_json, time.monotonic() - began)


def _begins(seed: int, done: int, seeds: int, seconds: float) -> str:
    """That a seed's run begins, ``done`` of them having taken so many seconds."""
    told = f"seed {seed}: run {done + 1} of {seeds}"
    if not done:
        return told
    return f"{told}, {duration(seconds / done * (seeds - done))} left by the pace of those before"


def _say_results(results: "Sequence[TrainResult]", as_json: bool) -> int:
    from noprop_dist.see.summary import of_seeds, summary_of_seeds

    print(json_line(of_seeds(results)) if as_json else summary_of_seeds(results))
    return 0


def _say_blocks(trained: "TrainedBlocks", as_json: bool, seconds: float) -> int:
    if as_json:
        print(json_line(asdict(trained)))
        return 0
    folder = printable(trained.folder)
    took = f"trained in {duration(trained.train_seconds)}; {duration(seconds)} in all"
    print(f"{took}; the blocks are in {folder}")
    print(f"noprop merge {folder} ... makes one network of such folders")
    return 0


def _run_merge(argv: Sequence[str], prog: str, text: str) -> int:
    options = parse_own(argv, prog, text, MergeOptions)
    from noprop_dist.merging import merge

    began = time.monotonic()
    merged = merge(options.runs, block=options.block, **options.changes)
    return _say_result(merged, options.json, time.monotonic() - began)


def _say_result(result: "TrainResult", as_json: bool, seconds: float) -> int:
    from noprop_dist.see.summary import summary

    print(json_line(result.to_dict()) if as_json else summary(result, seconds))
    if result.set_aside:
        reasons = "; ".join(f"block {t}: {why}" for t, why in result.set_aside.items())
        raise UserError(
            f"{len(result.set_aside)} of {len(result.block_accuracy)} blocks failed ({reasons}); "
            "their neighbours stand in for them."
        )
    return 0


def _run_compare(argv: Sequence[str], prog: str, text: str) -> int:
    from noprop_dist.compare.compare_options import parse_compare

    config, options, as_json = parse_compare(argv, prog, text)
    from noprop_dist.compare.run_comparison import compare, show
    from noprop_dist.training import StoppedError

    try:
        comparison = compare(config, options)
    except StoppedError as stopped:
        raise KeyboardInterrupt from stopped
    if as_json:
        print(json_line(comparison.to_dict()))
    else:
        show(comparison)
    return 0


def _run_completion(argv: Sequence[str], prog: str, text: str) -> int:
    from noprop_dist.completion import CompletionOptions, script

    options = parse_own(argv, prog, text, CompletionOptions)
    print(script(options.shell, {name: line for name, (_, line, _) in COMMANDS.items()}), end="")
    return 0


def _run_tune(argv: Sequence[str], prog: str, text: str) -> int:
    from noprop_dist.tune.sweep_options import SweepConfig

    config, options, as_json = parse_with(argv, prog, text, SweepConfig)
    from noprop_dist.tune.run_sweep import SweepStoppedError, sweep
    from noprop_dist.tune.sweep_summary import render

    try:
        result = sweep(config, options)
    except SweepStoppedError as stopped:
        print(render(stopped.result), file=sys.stderr)
        print(f"stopped; the same command goes on from {stopped.result.folder}", file=sys.stderr)
        return INTERRUPTED
    print(json_line(asdict(result)) if as_json else render(result))
    return 0


Run = Callable[[Sequence[str], str, str], int]
GOES_ON = "stopped; the same command goes on "
# By name: what runs it, given argv, what it is called and its line; its line in --help; and what is
# said where a signal ends it.
COMMANDS: dict[str, tuple[Run, str, str]] = {
    "train": (
        _run_train,
        "Train a NoProp network: T blocks, each learning on its own (arXiv:2503.24322).",
        GOES_ON + "from the last checkpoint, if there is one",
    ),
    "merge": (
        _run_merge,
        "Make one network of runs that trained some blocks each, and evaluate it.",
        "stopped; the same command begins again",
    ),
    "evaluate": (
        run_evaluate,
        "Evaluate the network of a run on labelled data: accuracy, classes, calibration.",
        "stopped",
    ),
    "ablate": (
        run_ablate,
        "Is a network more than an ensemble? Its blocks' answers with other things as z.",
        GOES_ON + "after what is finished",
    ),
    "predict": (
        run_predict,
        "Classify pictures with the network of a run; bad ones are named and left out.",
        "stopped",
    ),
    "export": (
        run_export,
        "Write the network of a run as one file, checked against the original.",
        "stopped",
    ),
    "runs": (
        run_runs,
        "List the runs, sweeps and comparisons of a folder, newest first.",
        "stopped",
    ),
    "show": (
        run_show,
        "Tell all about one run, sweep or comparison: numbers, options, what happened, what next.",
        "stopped",
    ),
    "visualize": (
        run_visualize,
        "Draw the pictures of a run, also of a live one, or of a training history alone.",
        "stopped",
    ),
    "trace": (
        run_trace,
        "Write which worker trained which block when, for ui.perfetto.dev.",
        "stopped",
    ),
    "card": (
        run_card,
        "Write the model card of a finished run: what is known of its network, and what is not.",
        "stopped",
    ),
    "push": (
        run_push,
        "Upload the network of a finished run and its card to the Hugging Face hub.",
        "stopped; the same command begins again",
    ),
    "tune": (
        _run_tune,
        "Search the settings of a NoProp network on your data, with Ray Tune.",
        GOES_ON + "with the sweep",
    ),
    "compare": (
        _run_compare,
        "Train the same network by NoProp and by back-propagation, side by side.",
        GOES_ON + "after what is finished",
    ),
    "completion": (
        _run_completion,
        "Print what completes commands and options in bash, zsh or fish.",
        "stopped",
    ),
    **{
        name: (partial(run_benchmark, name.split()[-1]), text, "stopped")
        for name, text in {
            "benchmark decode": "Pictures/s of reading class folders against Pillow alone.",
            "benchmark engine": "Block-images/s of the engine against a plain eager float32 loop.",
            "benchmark gpu": "How full blocks keep a GPU: eager and recorded, alone and together.",
            "benchmark predict": "Pictures/s of noprop predict against the bare forward passes.",
            "benchmark scaling": "What limits the number of workers: Ray's, and simulated ones.",
            "benchmark sharing": "Ways to train learned class embeddings over the blocks.",
            "chaos": "Measure what a run loses when its processes are killed.",
        }.items()
    },
}
