"""Files and functions short enough to read in one go."""

import ast
from pathlib import Path

import pytest

MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60


def oversized(root: Path) -> list[str]:
    """What is too long in the package and the jobs under the root."""
    found = []
    for path in [*root.glob("noprop_dist/**/*.py"), *root.glob("jobs/**/*.py")]:
        source = path.read_text()
        if len(source.splitlines()) >= MAX_FILE_LINES:
            found.append(path.name)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES:
                    found.append(f"{path.name}: {node.name}")
    return found


def test_files_and_functions_stay_short(repo: Path) -> None:
    assert oversized(repo) == []


@pytest.mark.parametrize(
    ("lines", "expected"), [(59, []), (60, ["a.py: f"]), (349, ["a.py", "a.py: f"])]
)
def test_size_check_sees_what_is_too_long(tmp_path: Path, lines: int, expected: list[str]) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/a.py").write_text("def f():\n" + "    0\n" * lines)
    assert oversized(tmp_path) == expected
