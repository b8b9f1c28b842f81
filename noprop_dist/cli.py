"""The command line: argv -> options -> call -> say where the results are.

Heavy imports come after parsing, so that ``--help`` and a mistyped option answer at once.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from noprop_dist.errors import UserError
from noprop_dist.options import parse_command
from noprop_dist.outputs import OutputError, standard_streams
from noprop_dist.see.commands import run_runs, run_show, run_visualize
from noprop_dist.signals import StopSignals
from noprop_dist.text import json_line, printable
from noprop_dist.use.commands import run_evaluate, run_export, run_predict

if TYPE_CHECKING:
    from noprop_dist.record.result import TrainResult

BAD_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """``noprop``: the console command. Returns the exit code, as ``exit_code`` does."""
    args = list(sys.argv[1:] if argv is None else argv)
    if args and args[0] in COMMANDS:
        return _run(args[0], args[1:], f"noprop {args[0]}")
    return exit_code(lambda: _say_what_there_is(args))


def run_job(name: str) -> int:
    """A command as ``python jobs/NAME.py``. Returns the exit code, as ``exit_code`` does."""
    return _run(name, sys.argv[1:], f"python jobs/{name}.py")


def _run(name: str, argv: Sequence[str], prog: str) -> int:
    run, stopped = COMMANDS[name]
    return exit_code(lambda: run(argv, prog), stopped)


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


def _say_what_there_is(args: Sequence[str]) -> int:
    if args[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"noprop-dist {version('noprop-dist')}")
        return 0
    asked = args[:1] in (["-h"], ["--help"])
    if args and not asked:
        near = get_close_matches(args[0], COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"error: unknown command {printable(args[0])}{hint}", file=sys.stderr)
    print(
        f"usage: noprop COMMAND ...; commands: {', '.join(COMMANDS)}",
        file=sys.stdout if asked else sys.stderr,
    )
    return 0 if asked else BAD_INPUT


def _run_train(argv: Sequence[str], prog: str) -> int:
    command = parse_command(argv, prog)
    if command.config.dry_run:
        from noprop_dist.plan import dry_run, plan

        report = dry_run(command.config)
        print(json_line(report) if command.as_json else plan(report))
        return 0
    from noprop_dist.training import StoppedError, train

    try:
        result = train(command.config)
    except StoppedError as stopped:
        print(f"stopped; the same command goes on from {stopped.folder}", file=sys.stderr)
        return INTERRUPTED
    print(json_line(result.to_dict()) if command.as_json else summary(result))
    if result.set_aside:
        reasons = "; ".join(f"block {t}: {why}" for t, why in result.set_aside.items())
        raise UserError(
            f"{len(result.set_aside)} of {len(result.block_accuracy)} blocks failed ({reasons}); "
            "their neighbours stand in for them."
        )
    return 0


def _run_compare(argv: Sequence[str], prog: str) -> int:
    from noprop_dist.compare.compare_options import parse_compare

    config, options, as_json = parse_compare(argv, prog)
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


def _run_tune(argv: Sequence[str], prog: str) -> int:
    from noprop_dist.options import parse_with
    from noprop_dist.tune.sweep_options import SweepConfig

    text = "Search the settings of a NoProp network on your data, with Ray Tune."
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


def summary(result: "TrainResult") -> str:
    """What a person wants to know at the end, in a few lines."""
    z_T, mean = result.test_accuracy["z_T"], result.test_accuracy["mean_softmax"]  # noqa: N806
    after = "  ".join(f"{100 * a:.1f}" for a in result.accuracy_after_t)
    return "\n".join(
        [
            f"test accuracy, {len(z_T.draws)} noise draws",
            f"  z_T           {100 * z_T.mean:.2f} % +- {100 * z_T.stderr:.2f}",
            f"  mean softmax  {100 * mean.mean:.2f} % +- {100 * mean.stderr:.2f}",
            f"  after t = 1..{len(result.accuracy_after_t)}, %: {after}",
            f"trained {result.epochs} epochs in {result.train_seconds:.0f} s",
            f"results in {printable(result.folder)}",
        ]
    )


# By name: what runs it, and what is said where a signal ends it.
COMMANDS: dict[str, tuple[Callable[[Sequence[str], str], int], str]] = {
    "train": (_run_train, "stopped; the same command goes on from the last checkpoint"),
    "compare": (_run_compare, "stopped; the same command goes on after what is finished"),
    "tune": (_run_tune, "stopped; the same command goes on with the sweep"),
    "visualize": (run_visualize, "stopped"),
    "evaluate": (run_evaluate, "stopped"),
    "predict": (run_predict, "stopped"),
    "export": (run_export, "stopped"),
    "runs": (run_runs, "stopped"),
    "show": (run_show, "stopped"),
}
