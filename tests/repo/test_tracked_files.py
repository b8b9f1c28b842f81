"""No file of the project names a machine's folders or a package index."""

import re
import subprocess
from pathlib import Path

import pytest

FORBIDDEN = re.compile(
    r"(?<![\w.$}/-])/(?:work|root|Users|home/(?!ray\b))\b"
    r"|pypi\.org|pythonhosted\.org|download\.pytorch\.org"
    r"|--(?:extra-)?index[-]url|--find[-]links"
)
# Of README.md: PyTorch's wheels without CUDA, which have no name of their own.
RECIPE = "pip install torch torchvision --index" + "-url https://download.py" + "torch.org/whl/cpu"


def test_tracked_files_name_no_machine_path_or_index(repo: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=repo,
        capture_output=True,
        check=True,
        text=True,
    )
    names = [name for name in listed.stdout.split("\0") if name and (repo / name).is_file()]
    assert "pyproject.toml" in names
    found = [
        f"{name}: {match.group()}"
        for name in names
        if (match := FORBIDDEN.search(text_of(repo / name)))
    ]
    assert found == []


def text_of(path: Path) -> str:
    text = path.read_text(errors="ignore")
    return text.replace(RECIPE, "") if path.name == "README.md" else text


@pytest.mark.parametrize("parts", [("/", "work/x"), ("see /ho", "me/me"), ("https://py", "pi.org")])
def test_pattern_finds_paths_and_indexes(parts: tuple[str, str]) -> None:
    assert FORBIDDEN.search("".join(parts))


@pytest.mark.parametrize("text", ["../work/x", "/home/ray/x", "network/work", "$HOME/work"])
def test_pattern_leaves_other_text_alone(text: str) -> None:
    assert not FORBIDDEN.search(text)
