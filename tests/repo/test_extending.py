"""The examples of docs/extending.md, put into a copy of the package and used as a user would."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from noprop_dist import TrainConfig
from noprop_dist.backends import BACKENDS
from noprop_dist.config.model_options import BLOCK_CHOICES
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.maths.learning_rate import LR_SCHEDULES
from noprop_dist.maths.optimizer import OPTIMIZERS
from noprop_dist.maths.schedule import ALPHA_BARS
from noprop_dist.model.readout import READOUTS
from noprop_dist.model.registry import BLOCKS, OBJECTIVES

PAGE = "docs/extending.md"
EXAMPLE = re.compile(
    r"```py(?:thon)?\n# (\S+\.py)(?:: a (row|choice) of (\w+))?\n(.*?)```", re.DOTALL
)


@pytest.mark.parametrize(
    ("option", "table"),
    [
        ("objective", list(OBJECTIVES)),
        ("embedding_type", list(IS_TRAINED)),
        ("lr_schedule", list(LR_SCHEDULES)),
        ("noise_schedule", [*ALPHA_BARS, "own"]),
        ("optimizer", list(OPTIMIZERS)),
        ("readout", list(READOUTS)),
        ("executor", list(BACKENDS)),
    ],
)
def test_an_option_s_choices_are_the_rows_of_its_table(option: str, table: list[str]) -> None:
    assert list(get_args(get_type_hints(TrainConfig)[option])) == table


def test_the_blocks_that_help_lists_are_those_of_the_registry() -> None:
    assert list(BLOCK_CHOICES) == ["auto", *BLOCKS]


def put(root: Path, file: str, kind: str, name: str, code: str) -> None:
    """One example into the copy, as its first line says."""
    path = root / file
    if not kind:
        assert not path.exists(), f"{file} is there already: the page says that it is new"
        path.write_text(code)
        return
    source = path.read_text()
    if kind == "choice":
        line = re.compile(rf"^    {name}: Literal\[.*$", re.MULTILINE)
        assert len(line.findall(source)) == 1
        path.write_text(line.sub(lambda _: code.rstrip(), source))
        return
    imports = [line for line in code.splitlines() if line.startswith("from ")]
    row = "\n".join(line for line in code.splitlines() if line and line not in imports)
    table = re.compile(rf"^({name}\b[^\n]*= {{\n.*?)^}}$", re.MULTILINE | re.DOTALL)
    assert len(table.findall(source)) == 1, f"{file} has no table {name}"
    source = table.sub(lambda found: f"{found[1]}{row}\n}}", source)
    last = [line for line in source.splitlines() if line.startswith("from noprop_dist")]
    if imports:
        source = source.replace(last[-1] + "\n", "\n".join([last[-1], *imports]) + "\n", 1)
    path.write_text(source)


@pytest.fixture(scope="module")
def extended(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("extended")
    shutil.copytree(repo / "noprop_dist", root / "noprop_dist")
    examples = EXAMPLE.findall((repo / PAGE).read_text())
    assert len(examples) == (repo / PAGE).read_text().count("```py")
    for example in examples:
        put(root, *example)
    return root


def ran(root: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A command in the copy."""
    return subprocess.run(
        [sys.executable, "-m", "noprop_dist", *args],
        cwd=root, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip


# One Python for all commands, which imports PyTorch once: each is a line of JSON, and its answer.
COMMANDS = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from noprop_dist.cli import main

for line in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(json.loads(line))
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


@pytest.fixture(scope="module")
def noprop(extended: Path) -> Iterator[Callable[..., list[str]]]:
    """A command in the copy; gives the lines that it prints."""
    environment = os.environ | {"PYTHONPATH": str(extended)}
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=extended, env=environment, text=True,
    ) as python:  # fmt: skip
        asked, answers = python.stdin, python.stdout
        assert asked is not None
        assert answers is not None

        def noprop(*args: str) -> list[str]:
            print(json.dumps(args), file=asked, flush=True)
            code, out, err = json.loads(answers.readline())
            assert code == 0, err
            return list(out.splitlines())

        try:
            yield noprop
        finally:
            python.kill()


EXAMPLES = {
    "block": "--block linear_block.py:LinearBlock --lr-schedule linear --epochs 8 --lr 0.05",
    "objective": "--block linear_block.py:LinearBlock --objective drawn-anew --epochs 8 --lr 0.05",
    "data": "--dataset stripes --noise-schedule quadratic --optimizer lion --objective ct "
    "--block-loss mse --epochs 4",
}


@pytest.mark.parametrize("given", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_train_and_predict(
    extended: Path, noprop: Callable[..., list[str]], given: str
) -> None:
    options = given.split()
    size = ["--num-blocks=3", "--batch-size=32", "--precision=fp32", "--no-plots", "--json"]

    def trained(executor: str, run: str) -> dict[str, Any]:
        where = ["--executor", executor, "--run-dir", run]
        found: dict[str, Any] = json.loads(noprop("train", *options, *size, *where)[-1])
        return found

    local, serial = (
        trained("local", f"local-{options[2].strip('-')}-{options[3]}"),
        trained("serial", "again"),
    )
    shutil.rmtree(extended / "again")
    assert serial["block_sha256"] == local["block_sha256"]
    accuracy = local["test_accuracy"]
    assert max(accuracy["z_T"]["mean"], accuracy["mean_softmax"]["mean"]) > 0.85
    code = options[:2] if ":" in options[1] else []
    drawn = noprop("visualize", local["folder"], *code)
    assert any(path.endswith("plots/speed.png") for path in drawn)
    again = json.loads(noprop("evaluate", local["folder"], "--json", *code)[-1])
    assert again["readouts"]["z_T"]["accuracy"] == accuracy["z_T"]


REFUSED = {
    "compare --methods noprop,noprop-sequential --objective fm": "--objective fm is not in "
    "Algorithm 1 as printed: give --objective dt, or leave noprop-sequential out of --methods.",
    "compare --executor serial": "--executor serial cannot be compared",
    "tune --executor serial": "--executor serial has no meaning for a sweep",
}


@pytest.mark.parametrize(("command", "said"), REFUSED.items())
def test_what_an_example_cannot_do_is_refused_in_one_sentence(
    extended: Path, command: str, said: str
) -> None:
    done = ran(extended, *command.split())
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
