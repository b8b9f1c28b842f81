"""Each room imports only its own floor and those below, and the map of rooms is true."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

MAP = "docs/architecture.md"
ROW = re.compile(r"^\| (\d) \| (.+?) \|", re.MULTILINE)  # floor, rooms
ROOM = re.compile(r"`(?:noprop_dist/)?(\w+)(?:/|\.py)`")
PUBLIC = {"noprop_dist", "jobs", "ray"}
# "noprop_dist" is the public door, which may import every room but not Ray.
DOORS = {"__main__": 6, "noprop_dist": 6, "ray": 5}


def floors(page: str) -> dict[str, int]:
    """The floor of every room that the page's table places."""
    placed: dict[str, int] = {}
    for floor, cell in ROW.findall(page):
        for room in ROOM.findall(re.sub(r"\(.*?\)", "", cell)):
            assert room not in placed, f"{MAP} places {room} twice"
            placed[room] = int(floor)
    return placed


FLOORS = floors((Path(__file__).parents[2] / MAP).read_text()) | DOORS


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
        assert room in FLOORS, f"give {room} a floor in {MAP}"
        for other in imported_rooms(path.read_text()):
            above = other == "ray" if is_door else FLOORS[other] > FLOORS[room]
            if above:
                found.append(f"{'/'.join(parts)} -> {other}")
    return found


def arrows(root: Path) -> str:
    """The table of who imports whom, as the page shows it."""
    found: dict[str, set[str]] = {}
    for path in root.glob("noprop_dist/**/*.py"):
        room = path.relative_to(root / "noprop_dist").with_suffix("").parts[0]
        if room in DOORS or room == "__init__":
            continue
        found.setdefault(room, set()).update(imported_rooms(path.read_text()))
    order = sorted(found, key=lambda room: (-FLOORS[room], room))
    rows = ["| room | imports |", "|---|---|"]
    for room in order:
        others = sorted(found[room] - {room, "noprop_dist"}, key=lambda r: (-FLOORS[r], r))
        rows.append(f"| `{room}` | {' '.join(f'`{other}`' for other in others)} |")
    return "\n".join(rows)


def test_the_map_shows_every_room_and_every_arrow(repo: Path) -> None:
    page = (repo / MAP).read_text()
    there = {path.stem for path in (repo / "noprop_dist").iterdir() if path.suffix in {"", ".py"}}
    assert set(floors(page)) | {"__init__", "__main__", "__pycache__"} == there | {
        "jobs", "__pycache__",
    }  # fmt: skip
    table = arrows(repo)
    assert table in page, f"{MAP} should show\n{table}"


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
