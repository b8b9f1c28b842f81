"""Pictures of a few coloured classes, in class folders or in Parquet as the hub lays it out."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "fox": (30, 30, 200)}
NAMES = tuple(COLOURS)
PER_CLASS = 12


def pixels(name: str, number: int = 0, size: int = 12) -> np.ndarray:
    """A picture of a class: its colour with a little noise, uint8 (size, size, 3)."""
    noise = np.random.default_rng([number, NAMES.index(name)]).integers(-30, 30, (size, size, 3))
    return np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)


def encoded(image: np.ndarray | Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file."""
    out = io.BytesIO()
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(out, kind, **options)
    return out.getvalue()


def class_folders(
    root: Path, *, per_class: int = PER_CLASS, first: int = 0, size: int = 12
) -> Path:
    """``root/<class>/000.png`` and so on."""
    for name in NAMES:
        (root / name).mkdir(parents=True)
        for i in range(first, first + per_class):
            (root / name / f"{i:03d}.png").write_bytes(encoded(pixels(name, i, size)))
    return root


def parquet(
    path: Path,
    names: Sequence[str] | None = NAMES,
    *,
    per_class: int = PER_CLASS,
    first: int = 0,
) -> Path:
    """Rows of every class; ``names``: by label, told in the metadata; None: labels of NAMES."""
    images, labels = [], []
    for i in range(first, first + per_class):
        for name in NAMES:
            images.append({"bytes": encoded(pixels(name, i)), "path": None})
            labels.append((names or NAMES).index(name))
    table = pa.table({"image": images, "label": pa.array(labels, pa.int64())})
    if names is not None:
        told = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path
