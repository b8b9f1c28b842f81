"""The command line: argv -> options -> call -> say where the results are.

Heavy imports come after parsing, so that ``--help`` and a mistyped option answer at once.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING

from noprop_dist.errors import UserError, json_line, print_anything, printable
from noprop_dist.options import TrainCommand, parse_command

if TYPE_CHECKING:
    from noprop_dist.record.result import TrainResult

BAD_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """``noprop``: the console command. Returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[Sequence[str]], int]] = {
        "train": train_main,
        "compare": compare_main,
        "tune": tune_main,
        "visualize": visualize_main,
        "evaluate": evaluate_main,
        "predict": predict_main,
        "export": export_main,
        "runs": runs_main,
        "show": show_main,
    }
    if args[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"noprop-dist {version('noprop-dist')}")
        return 0
    if not args or args[0] not in commands:
        known = ", ".join(commands)
        asked = args[:1] in (["-h"], ["--help"])
        if args and not asked:
            near = get_close_matches(args[0], commands, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            print(f"error: unknown command {printable(args[0])}{hint}", file=sys.stderr)
        print(
            f"usage: noprop COMMAND ...; commands: {known}",
            file=sys.stdout if asked else sys.stderr,
        )
        return 0 if asked else BAD_INPUT
    return commands[args[0]](args[1:])


def exit_code(action: Callable[[], int]) -> int:
    """Do it. Returns its exit code, or 2 with the sentence on standard error for bad input."""
    print_anything()
    try:
        return action()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT


def train_main(argv: Sequence[str], prog: str = "noprop train") -> int:
    """The training job. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    try:
        return exit_code(lambda: _run_train(parse_command(argv, prog)))
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED


def _run_train(command: TrainCommand) -> int:
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


def compare_main(argv: Sequence[str], prog: str = "noprop compare") -> int:
    """NoProp beside back-propagation. Returns the exit code: 0, 2 for bad input, 130 if stopped."""
    from noprop_dist.compare.options import parse_compare

    def run() -> int:
        config, options, as_json = parse_compare(argv, prog)
        from noprop_dist.compare.run import compare, show
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

    try:
        return exit_code(run)
    except KeyboardInterrupt:
        print("stopped; the same command goes on after what is finished", file=sys.stderr)
        return INTERRUPTED


def tune_main(argv: Sequence[str], prog: str = "noprop tune") -> int:
    """The sweep. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    try:
        return exit_code(lambda: _run_tune(argv, prog))
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the sweep", file=sys.stderr)
        return INTERRUPTED


def _run_tune(argv: Sequence[str], prog: str) -> int:
    from noprop_dist.options import parse_with
    from noprop_dist.sweep.options import SweepConfig

    text = "Search the settings of a NoProp network on your data, with Ray Tune."
    config, options, as_json = parse_with(argv, prog, text, SweepConfig)
    from noprop_dist.sweep.run import SweepStoppedError, sweep
    from noprop_dist.sweep.words import render

    try:
        result = sweep(config, options)
    except SweepStoppedError as stopped:
        print(render(stopped.result), file=sys.stderr)
        print(f"stopped; the same command goes on from {stopped.result.folder}", file=sys.stderr)
        return INTERRUPTED
    print(json_line(asdict(result)) if as_json else render(result))
    return 0


def visualize_main(argv: Sequence[str], prog: str = "noprop visualize") -> int:
    """The pictures of a run. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    from noprop_dist.see.commands import run_visualize

    return _stoppable(lambda: run_visualize(argv, prog))


def evaluate_main(argv: Sequence[str], prog: str = "noprop evaluate") -> int:
    """All about a network on labelled data. Returns the exit code: 0, 2 for bad input, 130."""
    from noprop_dist.use.commands import run_evaluate

    return _stoppable(lambda: run_evaluate(argv, prog))


def predict_main(argv: Sequence[str], prog: str = "noprop predict") -> int:
    """Classify pictures. Returns the exit code: 0, 1 for bad pictures, 2 for bad input, 130."""
    from noprop_dist.use.commands import run_predict

    return _stoppable(lambda: run_predict(argv, prog))


def export_main(argv: Sequence[str], prog: str = "noprop export") -> int:
    """A network as one file. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    from noprop_dist.use.commands import run_export

    return _stoppable(lambda: run_export(argv, prog))


def runs_main(argv: Sequence[str], prog: str = "noprop runs") -> int:
    """The runs of a folder. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    from noprop_dist.see.commands import run_runs

    return _stoppable(lambda: run_runs(argv, prog))


def show_main(argv: Sequence[str], prog: str = "noprop show") -> int:
    """All about one run. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    from noprop_dist.see.commands import run_show

    return _stoppable(lambda: run_show(argv, prog))


def _stoppable(action: Callable[[], int]) -> int:
    try:
        code = exit_code(action)
        sys.stdout.flush()  # here, where a closed pipe is no surprise
        return code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # of "| head", which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


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
