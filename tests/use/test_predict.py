"""Classifying pictures: every one gets its answer, whatever lies beside it."""

import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from noprop_dist import UserError
from noprop_dist.cli import main
from noprop_dist.data import load_dataset
from noprop_dist.data.pictures import BadPicture, Limits, find_pictures, read_picture
from noprop_dist.record.portable import PortableNetwork, seeds_of
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.predict import Answer, Predictor, Question, predict
from runs import wait_until

LIMITS = Limits(2**20, 2**20)


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_command_names_the_digits_in_order(
    trained_folder: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["predict", str(trained_folder), str(pictures), "--readout", "mean_softmax"]
    assert main([*args, "--format", "jsonl", "--top-k", "20", "--draws", "4"]) == 0
    out = capsys.readouterr()
    told = lines(out.out)
    assert [t["file"] for t in told] == [str(p) for p in sorted(pictures.rglob("*.png"))]
    truth = load_dataset("digits").test.labels[[*range(0, 12, 2), *range(1, 12, 2)]]
    right = sum(t["top"][0]["class"] == str(y) for t, y in zip(told, truth, strict=True))
    assert right >= 10
    for t in told:
        p = [top["probability"] for top in t["top"]]
        assert p == sorted(p, reverse=True)
        assert len(p) == 10
        assert sum(p) == pytest.approx(1, abs=1e-4)
    assert out.err.startswith("answers by mean softmax, ")
    assert out.err.count("\n") == 1


def answers(
    opened: OpenRun, found: list[str], batch: int, seed: int = 0
) -> dict[str, tuple[list[int], list[float]]]:
    predictor = Predictor(opened.trained, Question("z_T", 3, 2, seed, LIMITS))
    out = [item for part in predict(predictor, found, batch) for item in part]
    assert all(isinstance(item, Answer) for item in out)
    return {item.path: (item.labels, item.probabilities) for item in out}


def test_an_answer_depends_on_the_picture_and_the_seed_alone(
    opened: OpenRun, pictures: Path
) -> None:
    found = [p for p in find_pictures([str(pictures)]) if isinstance(p, str)]
    together = answers(opened, found, 256)
    assert list(together) == found
    for other in (answers(opened, found[::-1], 5), answers(opened, found[3:4], 1)):
        for path, (labels, probabilities) in other.items():
            assert together[path][0] == labels
            np.testing.assert_allclose(together[path][1], probabilities, atol=1e-6)
    changed = answers(opened, found, 256, seed=1)
    assert changed != together


def test_seeds_are_what_the_page_says() -> None:
    import hashlib

    samples = np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4)
    expected = [
        int.from_bytes(hashlib.blake2b(b"7:" + s.tobytes(), digest_size=8).digest(), "little") >> 1
        for s in samples
    ]
    assert seeds_of(samples, 7).tolist() == expected


def test_noise_in_parts_is_the_noise_at_once(
    opened: OpenRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = PortableNetwork(opened.trained.network, opened.trained.normalisation, 2)
    x, _ = load_dataset("digits").test.take(np.arange(9))
    at_once = network.classify(x, 0)
    monkeypatch.setattr("noprop_dist.record.portable.NOISE_NUMBERS", 100)
    for one, other in zip(at_once, network.classify(x, 0), strict=True):
        assert np.array_equal(one, other)


def bomb(side: int) -> bytes:
    """A PNG of few bytes whose header promises side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(2000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_pictures_of_which_none_is_good_are_bad_input(
    trained_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_bytes(b"hello")
    paths = [str(tmp_path / "text.png"), str(tmp_path / "gone.png")]
    assert main(["predict", str(trained_folder), *paths]) == 2
    assert "error: none of 2 could be classified" in capsys.readouterr().err


def test_bad_pictures_are_named_and_left_out(
    trained_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = (pictures / "a/00.png").read_bytes()
    bad = {
        "bomb.png": (bomb(5000), "is absurdly large, 5000x5000 pixels"),
        "bomb2.png": (bomb(60000), "is absurdly large"),
        "cut.png": (good[:-30], "does not decode"),
        "empty.png": (b"", "is empty"),
        "large.png": (good + bytes(5000), "is too large, 5,"),
        "text.png": (b"hello", "no known image format"),
        "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no known image"),
    }
    for name, (data, _) in bad.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "m.png").write_bytes(good)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder").mkdir()
    paths = [*sorted(p.name for p in tmp_path.iterdir()), "gone\n.png"]
    limits = ["--max-bytes", "4000", "--max-pixels", "1000000", "--batch-size", "2"]
    args = ["--format", "jsonl", *limits]
    code = main(["predict", str(trained_folder), *(str(tmp_path / p) for p in paths), *args])
    out = capsys.readouterr()
    assert code == 1
    assert [Path(str(t["file"])).name for t in lines(out.out)] == ["m.png"]
    errors = out.err.splitlines()
    assert errors[-1] == f"left out {len(bad) + 3} of {len(bad) + 4}"
    for name, (_, says) in bad.items():
        (told,) = [line for line in errors if f"/{name}: " in line]
        assert says in told
    assert any("pipe.png: it is no regular file" in line for line in errors)
    assert any("folder: it holds no pictures" in line for line in errors)
    assert any("gone\\n.png: it cannot be read (No such file" in line for line in errors)


def test_pictures_take_the_channels_and_the_size_of_the_network(tmp_path: Path) -> None:
    path = str(tmp_path / "x.png")
    Image.new("RGB", (8, 8), (255, 0, 0)).save(path)
    assert np.array_equal(read_picture(path, (1, 8, 8), LIMITS), np.full((1, 8, 8), 76))  # luma
    for alpha, seen in ((255, (9, 8, 7)), (0, (255, 255, 255))):  # laid on white
        Image.new("RGBA", (8, 8), (9, 8, 7, alpha)).save(path)
        got = read_picture(path, (3, 8, 8), LIMITS)
        assert np.array_equal(got, np.array(seen)[:, None, None].repeat(8, 1).repeat(8, 2))
    Image.fromarray(np.full((8, 8), 5 * 256, np.uint16)).save(path)
    assert np.array_equal(read_picture(path, (3, 8, 8), LIMITS), np.full((3, 8, 8), 5))
    wide = np.zeros((10, 40), np.uint8)
    wide[:, 13:27] = 200  # the middle square and a little more
    Image.fromarray(wide).save(path)
    assert np.array_equal(read_picture(path, (1, 5, 5), LIMITS), np.full((1, 5, 5), 200))
    assert np.asarray(read_picture(path, (1, 4, 6), LIMITS)).shape == (1, 4, 6)


def test_photo_stored_on_its_side_gets_the_answer_of_the_upright_one(
    trained_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Image.open(pictures / "a/00.png") as upright:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter, clockwise
        upright.save(tmp_path / "a.png")
        sideways = upright.transpose(Image.Transpose.ROTATE_90)
        sideways.save(tmp_path / "b.png", exif=exif)
        sideways.save(tmp_path / "c.png", exif=b"Exif\0\0no EXIF at all")  # hence as it lies
        sideways.save(tmp_path / "d.png")
    args = ["--format", "jsonl", "--readout", "mean_softmax", "--top-k", "10"]
    assert main(["predict", str(trained_folder), str(tmp_path), *args]) == 0
    a, b, c, d = (told["top"] for told in lines(capsys.readouterr().out))
    assert a == b
    assert c == d
    assert a != d


def test_folders_are_walked_by_name_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.jpg", "a.png", "b.png", ".hidden/1.png", "b/.x.png", "c/notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/loop").symlink_to(tmp_path)
    found = list(find_pictures([str(tmp_path), "given.xyz", str(tmp_path / "c")]))
    assert found == [
        *(str(tmp_path / name) for name in ("a.png", "b/10.jpg", "b/2.png", "b.png")),
        "given.xyz",
        BadPicture(str(tmp_path / "c"), "holds no pictures"),
    ]


def test_files_are_read_as_they_are_needed(opened: OpenRun, pictures: Path) -> None:
    """An endless list gives answers: no more than a few batches are ever ahead."""
    asked = 0

    def endless() -> object:
        nonlocal asked
        while True:
            asked += 1
            yield str(pictures / "a/00.png")

    predictor = Predictor(opened.trained, Question("z_T", 1, 1, 0, LIMITS))
    batches = predict(predictor, endless(), 4)
    for _ in range(5):
        assert len(next(batches)) == 4
    batches.close()
    assert asked <= 4 * (5 + (os.cpu_count() or 1) + 3)


def test_formats_hold_the_same_answers(
    trained_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["predict", str(trained_folder), str(pictures), "--top-k", "2"]
    for kind in ("table", "jsonl", "parquet"):
        assert main([*args, "--format", kind, "--output", str(tmp_path / "d" / kind)]) == 0
    assert capsys.readouterr().out == ""
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["jsonl", "parquet", "table"]
    told = lines((tmp_path / "d/jsonl").read_text())
    rows = pq.read_table(tmp_path / "d/parquet").to_pylist()
    table = (tmp_path / "d/table").read_text().splitlines()
    for line, t, row in zip(table, told, rows, strict=True):
        assert row["file"] == t["file"]
        assert row["classes"] == [top["class"] for top in t["top"]]
        assert row["probabilities"] == pytest.approx(
            [top["probability"] for top in t["top"]], abs=1e-6
        )
        assert line.split()[:2] == [t["file"], row["classes"][0]]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "give at least one picture"),
        (["x.png", "--top-k", "0"], "--top-k must be at least 1"),
        (["x.png", "--format", "parquet"], "give --output FILE.parquet"),
        (["x.png", "--output", "/dev/null/x"], "cannot be written"),
        (
            ["x.png", "--seed", str(2**63)],
            "--seed must be at least 0 and below 9223372036854775808",
        ),
        (["x.png", "--topk", "1"], "did you mean --top-k?"),
        (["x.png", "--device", "tpu"], "--device tpu is unknown"),
    ],
)
def test_bad_options_get_one_sentence(
    args: list[str], says: str, trained_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(trained_folder), *args]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_reader_that_has_seen_enough_ends_it_quietly(
    trained_folder: Path, pictures: Path, repo: Path
) -> None:
    command = [sys.executable, "-m", "noprop_dist", "predict", str(trained_folder), str(pictures)]
    with subprocess.Popen(
        [*command, "--batch-size", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=repo
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read().count(b"\n") == 1  # what answers
        assert process.wait(120) == 141


@pytest.mark.ray
@pytest.mark.timeout(400)  # two processes and a cluster, on a machine that may be busy
def test_ray_gives_the_same_answers_and_says_nothing_of_its_own(
    trained_folder: Path, pictures: Path, tmp_path: Path, repo: Path
) -> None:
    """Also where a worker process dies."""
    (tmp_path / "bad.png").write_text("bad")
    where = [str(pictures), str(tmp_path), "gone.png"]
    told, errors = [], []
    for more in ([], ["--ray"]):
        args = [*where, *more, "--batch-size", "4", "--format", "jsonl"]
        with subprocess.Popen(
            [sys.executable, "-m", "noprop_dist", "predict", str(trained_folder), *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repo,
            env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
            start_new_session=True,
        ) as run:  # fmt: skip
            try:
                if more:
                    wait_until(lambda: bool(actors_of(run.pid)), 120)
                    os.kill(actors_of(run.pid)[0], signal.SIGKILL)
                out, err = run.communicate(timeout=190)
            finally:
                run.kill()
        assert run.returncode == 1, err
        told.append(out)
        # On a slow machine it says every 30 s how far it is.
        errors.append([line for line in err.splitlines() if not line.startswith("predicting: ")])
    assert told[0] == told[1]
    assert len(told[0].splitlines()) == 12
    assert errors[0] == errors[1]
    assert sum(line.startswith("left out") for line in errors[0]) == 3


def actors_of(session: int) -> list[int]:
    """The processes of a session of ours that classify pictures for it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            ours = os.getsid(int(process.name)) == session
            if ours and (process / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                found.append(int(process.name))
    return found


def test_table_is_bytes_that_a_terminal_can_show(opened: OpenRun) -> None:
    from noprop_dist.use.writers import _table

    out = io.BytesIO()
    with _table(out, ["a\x1b[31m", "b"]) as write:
        write([Answer(os.fsdecode(b"x\xff\x1b.png"), [0, 1], [0.75, 0.25])])
    assert out.getvalue().decode() == "x\\xff\\x1b.png  a\\x1b[31m  75.0 %   b          25.0 %\n"


def test_file_that_cannot_be_finished_is_told_of(tmp_path: Path) -> None:
    from noprop_dist.use.writers import open_writer

    folder = tmp_path / "d"

    def classify() -> None:
        with open_writer("jsonl", str(folder / "x.jsonl"), "ab") as write:
            write([Answer("x.png", [0], [1.0])])
            shutil.rmtree(folder)

    with pytest.raises(UserError, match="cannot be written"):
        classify()


def test_stopping_leaves_no_file(tmp_path: Path) -> None:
    from noprop_dist.use.writers import open_writer

    (tmp_path / "x.jsonl").write_text("before")

    def classify() -> None:
        with open_writer("jsonl", str(tmp_path / "x.jsonl"), "ab") as write:
            write([Answer("x.png", [0], [1.0])])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify()
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]
