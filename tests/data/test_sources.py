import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noprop_dist import TrainConfig
from noprop_dist.data import load_dataset
from noprop_dist.data.account import Reading
from noprop_dist.data.sources import find_rows
from noprop_dist.engine.splits import load_splits
from noprop_dist.errors import UserError

RNG = np.random.default_rng(0)


def png(size: tuple[int, int] = (6, 5), *, colour: bool = False) -> bytes:
    """A random image of (width, height)."""
    pixels = RNG.integers(0, 256, (size[1], size[0], 3) if colour else size[::-1], dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def folders(root: Path, *, per_class: int = 5, colour: bool = False) -> Path:
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            (root / name / f"{i}.png").write_bytes(png(colour=colour))
    return root


def parquet(path: Path, labels: list[int | None], images: list[bytes], names: bool = True) -> None:
    table = pa.table(
        {
            "image": pa.array([{"bytes": b, "path": None} for b in images]),
            "label": pa.array(labels, pa.int64()),
        }
    )
    info = {"info": {"features": {"label": {"names": ["ant", "bee"]}}}}
    metadata = {"huggingface": json.dumps(info)} if names else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(metadata), path)


def vectors(path: Path, labels: list[int], width: int = 4) -> np.ndarray:
    values = RNG.normal(size=(len(labels), width)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), width)
    pq.write_table(pa.table({"features": column, "label": pa.array(labels)}), path)
    return values


def test_digits_have_a_fixed_test_split() -> None:
    first, second = load_dataset("digits", seed=0), load_dataset("digits", seed=1)
    assert (len(first.train), len(first.test)) == (1438, 359)
    assert first.train.sample_shape == (1, 8, 8)
    assert np.array_equal(first.test.labels, second.test.labels)
    assert first.train.xs[0].dtype == np.uint8
    assert max(x.max() for x in first.train.xs) == 255


def test_digits_are_scikit_learn_s() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    rows = load_dataset("digits")
    found = [part.take(np.arange(len(part))) for part in (rows.train, rows.test)]
    pixels = np.concatenate([x for x, _ in found]).reshape(-1, 64)
    labels = np.concatenate([y for _, y in found])
    pictures = np.round(theirs.data * (255 / 16)).astype(np.uint8)
    ours, known = (
        np.column_stack([p, y])[np.lexsort(np.column_stack([p, y]).T)]
        for p, y in ((pixels, labels), (pictures, theirs.target))
    )
    assert np.array_equal(ours, known)


@pytest.mark.parametrize("colour", [False, True])
def test_class_folders_load_in_name_order(tmp_path: Path, colour: bool) -> None:
    data = load_dataset(str(folders(tmp_path / "set", colour=colour)))
    assert data.class_names == ("ant", "bee")
    assert data.train.sample_shape == (3 if colour else 1, 5, 6)
    assert (len(data.train), len(data.test)) == (8, 2)
    assert data.photographs == colour


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    folders(tmp_path / "train", per_class=4)
    folders(tmp_path / "test", per_class=2)
    data = load_dataset(str(tmp_path))
    assert (len(data.train), len(data.test)) == (8, 4)
    pixels = np.asarray(Image.open(tmp_path / "test/bee/1.png"))
    assert np.array_equal(data.test.take(np.array([3]))[0][0, 0], pixels)


def test_grey_and_colour_images_mix_to_colour(tmp_path: Path) -> None:
    folders(tmp_path / "train")
    folders(tmp_path / "test", colour=True)
    data = load_dataset(str(tmp_path))
    assert data.train.sample_shape == data.test.sample_shape == (3, 5, 6)


def test_image_size_makes_sizes_equal(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    (root / "bee/0.png").write_bytes(png((9, 7)))
    data = load_dataset(str(root))
    assert data.train.sample_shape == (1, 5, 5)
    assert data.account.remarks == {"of several sizes, resized and cropped to 5x5": 10}
    assert load_dataset(str(root), image_size=4).train.sample_shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"no image", "does not decode"), (png()[:40], "does not decode"), (b"", "is empty")],
)
def test_bad_image_is_named_or_skipped_and_counted(
    tmp_path: Path, content: bytes, says: str
) -> None:
    root = folders(tmp_path / "set")
    (root / "ant/2.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"ant/2\.png {says}.*--skip-bad-images"):
        load_dataset(str(root))
    data = load_dataset(str(root), skip_bad_images=True)
    assert (data.num_skipped, len(data.train) + len(data.test)) == (1, 9)


def test_absurdly_large_image_is_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    Image.new("1", (9000, 8000)).save(root / "ant/2.png")
    with pytest.raises(UserError, match=r"ant/2\.png is absurdly large, 9000x8000"):
        load_dataset(str(root))


def test_class_folder_without_images_is_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    (root / "cat").mkdir()
    with pytest.raises(UserError, match="cat holds no images"):
        load_dataset(str(root))


def test_test_classes_must_be_those_of_training(tmp_path: Path) -> None:
    folders(tmp_path / "train")
    folders(tmp_path / "test")
    (tmp_path / "test/cat").mkdir()
    (tmp_path / "test/cat/0.png").write_bytes(png())
    with pytest.raises(UserError, match=r"differ in their classes \(cat\)"):
        load_dataset(str(tmp_path))


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "ant").mkdir()
    for i in range(5):
        (tmp_path / "ant" / f"{i}.png").write_bytes(png())
    with pytest.raises(UserError, match="one class only"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "says"),
    [("nothing", "unknown: give one of digits, mnist"), ("/no/such", "no such file or folder")],
)
def test_unknown_source_is_refused(name: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_dataset(name)


def test_vectors_have_no_size(tmp_path: Path) -> None:
    file = tmp_path / "vectors.parquet"
    vectors(file, [0, 1] * 10)
    with pytest.raises(UserError, match=r"--image-size 9 has no meaning for .*vectors\.parquet"):
        load_splits(TrainConfig(dataset=str(file), image_size=9))
    assert load_splits(TrainConfig(dataset=str(file), label_column="label")).samples.shape == [4]
    photos = str(folders(tmp_path / "photos"))
    with pytest.raises(UserError, match=r"--label-column y names a column .* is none"):
        load_splits(TrainConfig(dataset=photos, label_column="y"))


def test_hugging_face_parquet_loads(tmp_path: Path) -> None:
    images = [png() for _ in range(4)]
    parquet(tmp_path / "data/train-00000.parquet", [0, 1, 0, 1], images)
    parquet(tmp_path / "data/test-00000.parquet", [1, 0], images[:2])
    data = load_dataset(str(tmp_path))
    assert data.class_names == ("ant", "bee")
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    pixels = np.asarray(Image.open(io.BytesIO(images[2])))
    assert np.array_equal(data.train.take(np.array([2]))[0][0, 0], pixels)


def test_shards_that_are_not_there_are_counted(tmp_path: Path) -> None:
    for name in ("train-00000-of-00003", "train-00002-of-00003", "test-00000-of-00001"):
        vectors(tmp_path / f"{name}.parquet", [0, 1, 0, 1])
    told = find_rows(str(tmp_path), Reading()).account
    assert told.passed_over == {"shards that are not there": 1}


def test_parquet_vectors_load(tmp_path: Path) -> None:
    values = vectors(tmp_path / "train.parquet", [0, 1, 2, 0])
    vectors(tmp_path / "test.parquet", [0, 2])
    data = load_dataset(str(tmp_path))
    assert data.train.is_vector
    assert np.array_equal(data.train.take(np.arange(4))[0], values)
    assert data.class_names == ("0", "1", "2")


Write = Callable[[Path], object]


def wrong_columns(path: Path) -> None:
    pq.write_table(pa.table({"picture": [1], "label": [0]}), path)


def no_bytes(path: Path) -> None:
    table = pa.table({"image": pa.array([{"path": "a.png"}]), "label": [0]})
    pq.write_table(table, path)


def float_labels(path: Path) -> None:
    table = pa.table({"image": pa.array([{"bytes": png(), "path": None}]), "label": [0.5]})
    pq.write_table(table, path)


def paths_alone(path: Path) -> None:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    images = pa.array([{"bytes": None, "path": "a.png"}] * 2, kind)
    pq.write_table(pa.table({"image": images, "label": [0, 1]}), path)


def two_vectors(path: Path) -> None:
    kind = pa.list_(pa.float32(), 2)
    column = pa.array([[0.0, 1.0]], kind)
    pq.write_table(pa.table({"x": column, "y": column, "label": [0]}), path)


def damaged_page(path: Path) -> None:
    parquet(path, [0, 1], [png(), png()])
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (
            wrong_columns,
            r"columns picture \(int64\), label \(int64\); expected .* called image, img",
        ),
        (lambda p: parquet(p, [0, None], [png(), png()]), "1 row without a label"),
        (lambda p: parquet(p, [0, -1], [png(), png()]), r"label -1 in row 1; .* 0 to 1"),
        (lambda p: parquet(p, [0, 2], [png(), png()]), r"label 2 in row 1; .* 0 to 1"),
        (lambda p: parquet(p, [0, 1], [png(), b"x"]), r"row 1 of .* does not decode"),
        (lambda p: p.write_bytes(b"PAR0"), "not a readable Parquet file"),
        (no_bytes, r"columns image \(struct<path: string>\), label .* or as --image-column says"),
        (
            float_labels,
            r"label \(double\); expected is one that holds integers or text, called label",
        ),
        (paths_alone, "holds the paths of images and not the images: write it with their bytes"),
        (
            two_vectors,
            r"several columns that may be samples \(x, y\): name one with --image-column",
        ),
        (damaged_page, "cannot be read to its end"),
        (lambda p: parquet(p, [0, 10**12], [png(), png()], names=False), r"label 10{12} in row 1"),
    ],
)
def test_bad_parquet_is_explained(tmp_path: Path, write: Write, says: str) -> None:
    write(tmp_path / "train.parquet")
    with pytest.raises(UserError, match=says):
        load_dataset(str(tmp_path))


def test_vectors_of_other_width_are_explained(tmp_path: Path) -> None:
    vectors(tmp_path / "train.parquet", [0, 1, 1])
    vectors(tmp_path / "test.parquet", [0, 1], width=3)
    with pytest.raises(UserError, match=r"features of width 4, .*test\.parquet in .* width 3"):
        load_dataset(str(tmp_path))


def test_unusable_class_names_fall_back_to_numbers(tmp_path: Path) -> None:
    table = pa.table({"image": [{"bytes": png(), "path": None}] * 8, "label": [0, 1] * 4})
    metadata = {"huggingface": "not JSON"}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train.parquet")
    assert load_dataset(str(tmp_path)).class_names == ("0", "1")


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    pixels = np.linspace(0, 65535, 30).astype(np.uint16).reshape(5, 6)
    for name in ("ant", "bee"):
        for path in (root / name).iterdir():
            Image.fromarray(pixels).save(path)
    x = load_dataset(str(root)).train.xs[0]
    assert np.array_equal(x[0, 0], pixels >> 8)


def test_image_of_floats_is_refused(tmp_path: Path) -> None:
    root = folders(tmp_path / "set")
    Image.fromarray(np.zeros((5, 6), np.float32)).save(root / "ant/x.tiff")
    with pytest.raises(UserError, match=r"x\.tiff has 32 bits a pixel"):
        load_dataset(str(root))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_torchvision_set_loads_from_its_raw_files(tmp_path: Path, name: str) -> None:
    from torchvision import datasets

    made = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}[name]
    raw = tmp_path / made / "raw"
    raw.mkdir(parents=True)
    for stem, count in (("train", 6), ("t10k", 4)):
        images = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = b"".join(n.to_bytes(4, "big") for n in (2051, count, 28, 28))
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = b"".join(n.to_bytes(4, "big") for n in (2049, count))
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    data = load_dataset(name, data_dir=str(tmp_path))
    assert (len(data.train), len(data.test)) == (6, 4)
    assert data.train.sample_shape == (1, 28, 28)
    assert len(data.class_names) == len(getattr(datasets, made).classes)


def test_download_without_a_network_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    def offline(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(datasets.MNIST, "download", offline)
    with pytest.raises(UserError, match=r"not in .* could not be downloaded .*--data-dir"):
        load_dataset("mnist", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "made", "shape", "labels"),
    [
        ("cifar10", "CIFAR10", (2, 32, 32, 3), "targets"),
        ("cifar100", "CIFAR100", (2, 32, 32, 3), "targets"),
        ("svhn", "SVHN", (2, 3, 32, 32), "labels"),
    ],
)
def test_colour_sets_come_as_channels_first(
    monkeypatch: pytest.MonkeyPatch, name: str, made: str, shape: tuple[int, ...], labels: str
) -> None:
    from torchvision import datasets

    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    loaded = SimpleNamespace(data=pixels, **{labels: [0, 1]})
    # Its raw files are checked against published hashes, so the reader itself is stood in for.
    monkeypatch.setattr(datasets, made, lambda *args, **kwargs: loaded)
    x, y = load_dataset(name).train.take(np.arange(2))
    expected = pixels if shape[1] == 3 else pixels.transpose(0, 3, 1, 2)
    assert np.array_equal(x, expected)
    assert y.tolist() == [0, 1]


def test_max_train_images_keeps_every_class() -> None:
    train = load_dataset("digits", max_train_images=100).train
    assert len(train) == pytest.approx(100, abs=5)
    assert np.bincount(train.labels).min() >= 9


@pytest.mark.parametrize(("name", "shape"), [("mnist", (1, 28, 28)), ("cifar10", (3, 32, 32))])
def test_real_parquet_sets_load(repo: Path, name: str, shape: tuple[int, ...]) -> None:
    folder = repo.parent / "shared/data" / name
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not beside the repository")
    data = load_dataset(str(folder), max_train_images=500)
    assert data.train.sample_shape == shape
    assert len(data.test) == 10_000
    assert len(data.class_names) == 10
