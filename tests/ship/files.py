"""What the tests of the shipping files share: reading them, and the versions they must name."""

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

IMAGE = "noprop-dist"


def documents(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def version(repo: Path) -> str:
    """The project's own version."""
    found: str = tomllib.loads((repo / "pyproject.toml").read_text())["project"]["version"]
    return found


def pinned(repo: Path, name: str) -> str:
    """The version of a package in constraints.txt."""
    lines = (repo / "constraints.txt").read_text().splitlines()
    (found,) = [line for line in lines if line.startswith(f"{name}==")]
    return found.removeprefix(f"{name}==").split()[0]


def values(tree: Any, key: str) -> Iterator[Any]:
    """Every value of such a key, at any depth."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from values(value, key)
    elif isinstance(tree, list):
        for value in tree:
            yield from values(value, key)


def tool(name: str) -> str:
    """A command that came with a package of this environment."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found is not None, f"{name} is not installed: make env"
    return found


def schema_check(schema: str, *paths: Path) -> subprocess.CompletedProcess[str]:
    """Compare files with a schema that check-jsonschema brings along."""
    command = [tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *map(str, paths)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
