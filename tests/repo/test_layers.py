"""Each room imports only its own floor and those below (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

# By room; "noprop_dist" alone is the public door, which may import every room but not Ray.
FLOORS = {
    "errors": 0, "faults": 0, "signals": 0, "maths": 0, "model": 1, "config": 2, "data": 3,
    "record": 3, "engine": 4, "distributed": 5, "ray": 5, "site": 6, "training": 6,
    "benchmarks": 6, "compare": 6, "sweep": 6, "cli": 6, "use": 6, "options": 6,
    "see": 6, "jobs": 6,
    "__main__": 6, "noprop_dist": 6,
}  # fmt: skip
PUBLIC = {"noprop_dist", "jobs", "ray"}


def imported_rooms(source: str) -> Iterator[str]:
    """The room of every import in the source, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (room_of(name.split(".")) for name in names if name.split(".")[0] in PUBLIC)


def room_of(parts: list[str]) -> str:
    """The room of a dotted name; what the package itself exports belongs to the door."""
    if parts[0] != "noprop_dist":
        return parts[0]
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else "noprop_dist"


def upward_imports(root: Path) -> list[str]:
    """ "file -> room" for each import of a higher floor under the root."""
    found = []
    for path in [*root.glob("noprop_dist/**/*.py"), *root.glob("jobs/**/*.py")]:
        parts = path.relative_to(root).with_suffix("").parts
        is_door = parts == ("noprop_dist", "__init__")
        room = parts[0] if is_door or parts[0] == "jobs" else parts[1]
        assert room in FLOORS, f"give {room} a floor in FLOORS"
        for other in imported_rooms(path.read_text()):
            above = other == "ray" if is_door else FLOORS[other] > FLOORS[room]
            if above:
                found.append(f"{'/'.join(parts)} -> {other}")
    return found


def test_rooms_import_no_higher_floor(repo: Path) -> None:
    assert upward_imports(repo) == []


def test_layer_check_sees_every_kind_of_upward_import(tmp_path: Path) -> None:
    (tmp_path / "noprop_dist/maths").mkdir(parents=True)
    (tmp_path / "noprop_dist/__init__.py").write_text("import ray\nimport noprop_dist.engine\n")
    (tmp_path / "noprop_dist/maths/loss.py").write_text(
        "import torch, noprop_dist.errors\n"
        "from noprop_dist import config\n"
        "from noprop_dist.model.block import Block\n"
        "def f():\n    from noprop_dist import train\n    import ray.data\n"
    )
    assert upward_imports(tmp_path) == [
        "noprop_dist/__init__ -> ray",
        "noprop_dist/maths/loss -> config",
        "noprop_dist/maths/loss -> model",
        "noprop_dist/maths/loss -> noprop_dist",
        "noprop_dist/maths/loss -> ray",
    ]
