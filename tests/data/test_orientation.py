"""Photos stored on their side are turned as their EXIF says, wherever they come from."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noprop_dist.data import load_dataset

UPRIGHT = np.arange(0, 240, 8, dtype=np.uint8).reshape(5, 6)
# What the sensor saw, by the orientation that makes it upright.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: np.rot90(UPRIGHT),
    7: UPRIGHT[::-1, ::-1].T,
    8: np.rot90(UPRIGHT, -1),
}


def photo(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    image.save(out, kind, exif=exif, **({"compression": "raw"} if kind == "TIFF" else {}))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("source", ["folders", "parquet"])
def test_photos_are_upright_whatever_their_orientation(
    tmp_path: Path, kind: str, source: str
) -> None:
    photos = [photo(orientation, kind) for orientation in STORED]
    if source == "folders":
        for name in ("ant", "bee"):
            (tmp_path / name).mkdir()
            for i, data in enumerate(photos):
                (tmp_path / name / f"{i}.{kind.lower()}").write_bytes(data)
    else:
        rows = {"image": [{"bytes": p, "path": None} for p in 2 * photos], "label": [0, 1] * 8}
        pq.write_table(pa.table(rows), tmp_path / "x.parquet")
    data = load_dataset(str(tmp_path))
    for split in (data.train, data.test):
        x, _ = split.take(np.arange(len(split)))
        assert np.array_equal(x, np.broadcast_to(UPRIGHT, (len(split), 1, 5, 6)))
