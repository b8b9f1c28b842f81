"""Every command and import that the pages show is one that the project accepts."""

import ast
import re
import runpy
import shlex
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

import noprop_dist
from noprop_dist.benchmarks.benchmark_options import ChaosBenchmark
from noprop_dist.benchmarks.commands import BENCHMARKS
from noprop_dist.compare.compare_options import parse_compare
from noprop_dist.options import parse_command, parse_own, parse_with
from noprop_dist.see.commands import (
    CardOptions,
    PushOptions,
    RunsOptions,
    ShowOptions,
    TraceOptions,
    VisualizeOptions,
)
from noprop_dist.tune.space import read_space
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.use.flags import EvaluateOptions, ExportOptions, PredictOptions
from repo.pages import SHELL, blocks

PYTHON_JOB = re.compile(r"(?:\.venv/bin/)?python3?")
PARSERS: dict[str, Callable[[Sequence[str]], object]] = {
    "train": parse_command,
    "compare": parse_compare,
    "tune": lambda argv: parse_with(argv, "noprop tune", "", SweepConfig),
    "evaluate": partial(parse_own, prog="", description="", options=EvaluateOptions),
    "predict": partial(parse_own, prog="", description="", options=PredictOptions),
    "export": partial(parse_own, prog="", description="", options=ExportOptions),
    "runs": partial(parse_own, prog="", description="", options=RunsOptions),
    "show": partial(parse_own, prog="", description="", options=ShowOptions),
    "chaos": partial(parse_own, prog="", description="", options=ChaosBenchmark),
    "benchmark": lambda argv: parse_own(argv[1:], "", "", BENCHMARKS[argv[0]][0]),
    "visualize": partial(parse_own, prog="", description="", options=VisualizeOptions),
    "trace": partial(parse_own, prog="", description="", options=TraceOptions),
    "card": partial(parse_own, prog="", description="", options=CardOptions),
    "push": partial(parse_own, prog="", description="", options=PushOptions),
}
ASSIGNMENT = re.compile(r"\w+=.*", re.DOTALL)


def commands(page: str) -> list[list[str]]:
    """The words of each command of a page that runs make, a job or noprop."""
    found = []
    for block in blocks(page, SHELL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r" && | \| |; | -- ", line.strip().removeprefix("$ ")):
                words = part.split()
                while words and ASSIGNMENT.fullmatch(words[0]):
                    words.pop(0)
                if is_ours(words):
                    found.append(shlex.split(part[part.index(words[0]) :], comments=True))
    return found


def is_ours(words: Sequence[str]) -> bool:
    """Whether a line's words start a command of the project."""
    if len(words) > 1 and PYTHON_JOB.fullmatch(words[0]):
        return words[1].startswith("jobs/")
    return bool(words) and words[0].removeprefix(".venv/bin/") in {"make", "noprop"}


def check_command(words: Sequence[str], repo: Path) -> None:
    """Raise what the parser raises where the project would refuse the command."""
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (repo / "Makefile").read_text(), re.MULTILINE)
        for word in words[1:]:
            if not ASSIGNMENT.fullmatch(word):
                assert word in targets, f"make has no target {word}"
            elif word.startswith("ARGS=") and "train" in words:
                accepts(parse_command, shlex.split(word.removeprefix("ARGS=")))
    elif words[0].endswith("noprop"):
        known = (*PARSERS, "--help")
        assert words[1] in known, f"noprop has no command {words[1]}"
        if words[1] in PARSERS:
            accepts(PARSERS[words[1]], words[2:])
    else:
        runpy.run_path(str(repo / words[1]))
        accepts(PARSERS[Path(words[1]).stem], words[2:])


def accepts(parse: Callable[[Sequence[str]], object], argv: Sequence[str]) -> None:
    """Parse the flags; --help, which prints and leaves with code 0, is fine too."""
    try:
        parse(argv)
    except noprop_dist.UserError as refused:
        raise AssertionError(f"{shlex.join(argv)} is refused: {refused}") from refused
    except SystemExit as left:
        if left.code not in (0, None):
            raise AssertionError(f"{shlex.join(argv)} does not parse") from left


def pages(repo: Path) -> list[Path]:
    """README.md and the pages it leads to."""
    return [*repo.glob("*.md"), *(repo / "docs").rglob("*.md"), *(repo / "tests").rglob("*.md")]


def test_commands_on_the_pages_parse(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in pages(repo):
        page = path.read_text()
        options = "".join(b for b in blocks(page, {"yaml"}) if not is_space(b)) or "{}"
        for words in commands(page):
            for flag, value in pairwise(words):
                if flag == "--config":
                    (tmp_path / value).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / value).write_text(options)
            check_command(words, repo)


def is_space(block: str) -> bool:
    """Whether a YAML block is a search space, whose lines are mappings."""
    return all(isinstance(line, dict) for line in yaml.safe_load(block).values())


def test_spaces_on_the_pages_can_be_searched(repo: Path, tmp_path: Path) -> None:
    shown = [b for path in pages(repo) for b in blocks(path.read_text(), {"yaml"}) if is_space(b)]
    assert shown
    for block in shown:
        (tmp_path / "space.yaml").write_text(block)
        read_space(str(tmp_path / "space.yaml"), noprop_dist.TrainConfig())


def test_readme_shows_the_commands_of_a_first_visit(repo: Path) -> None:
    shown = commands((repo / "README.md").read_text())
    assert ["make", "train"] in shown
    assert ["make", "test"] in shown
    assert any("jobs/train.py" in words for words in shown)


def test_python_on_the_pages_imports_public_names(repo: Path) -> None:
    for path in pages(repo):
        for block in blocks(path.read_text(), {"python"}):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module == "noprop_dist":
                    assert {alias.name for alias in node.names} <= set(noprop_dist.__all__)


def test_commands_are_found_in_a_page() -> None:
    page = (
        "```sh\n$ make train ARGS='--lr 1'  # slow\nls\n"
        "A=1 .venv/bin/noprop train \\\n  --seed 3\n```\n"
        "make no\n```python\nmake = 1\n```\n```\ncd x && python jobs/train.py --json | tail\n```\n"
    )
    assert commands(page) == [
        ["make", "train", "ARGS=--lr 1"],
        [".venv/bin/noprop", "train", "--seed", "3"],
        ["python", "jobs/train.py", "--json"],
    ]


@pytest.mark.parametrize(
    "command",
    [
        "make nothing",
        "make train ARGS='--epoch 5x'",
        "noprop tran",
        "noprop train --no-such-flag",
        "noprop export --format onnx",
        "noprop compare --methods backprop",
        "python jobs/train.py --lr fast",
        "python jobs/missing.py",
    ],
)
def test_a_command_that_the_project_refuses_is_noticed(repo: Path, command: str) -> None:
    with pytest.raises((AssertionError, FileNotFoundError)):
        check_command(shlex.split(command), repo)


def test_pages_that_messages_name_are_there(repo: Path) -> None:
    code = "".join(path.read_text() for path in (repo / "noprop_dist").rglob("*.py"))
    named = set(re.findall(r"docs/\w+\.md", code))
    assert {"docs/data.md", "docs/extending.md"} <= named
    assert not [page for page in named if not (repo / page).is_file()]
