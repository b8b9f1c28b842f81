"""Names of folders and files that are not UTF-8, through every command that takes or tells them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from made_runs import make_run
from noprop_dist import UserError
from noprop_dist.cli import main
from noprop_dist.text import json_line, printable, shown

LATIN = os.fsdecode(b"caf\xe9")  # not UTF-8: Python holds it as a lone surrogate
CLASSES = [LATIN, "esc\x1b[31m", "na\xefve", "plain"]
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates too
SMALL = ["--num-blocks", "2", "--epochs", "1", "--batch-size", "16", "--executor", "local"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of them lie; its own name is plain."""
    return tmp_path_factory.mktemp("names")


@pytest.fixture(scope="module")
def data(place: Path) -> str:
    """Pictures in class folders; neither the folder's, a class's nor a file's name is UTF-8."""
    draw = np.random.default_rng(0)
    for k, name in enumerate(CLASSES):
        folder = place / os.fsdecode(b"data\xe9") / name
        folder.mkdir(parents=True)
        for i in range(12):
            pixels = np.clip(draw.integers(0, 60, (8, 8)) + 60 * k, 0, 255).astype(np.uint8)
            with (folder / os.fsdecode(b"%d\xe9.png" % i)).open("wb") as file:
                Image.fromarray(pixels).save(file, "PNG")
    return str(place / os.fsdecode(b"data\xe9"))


@pytest.fixture(scope="module")
def run(place: Path, data: str) -> str:
    """A run on them with all its pictures, trained by the command."""
    folder = str(place / os.fsdecode(b"run\xe9"))
    assert main(["train", *SMALL, "--quiet", "--dataset", data, "--run-dir", folder]) == 0
    return folder


def told(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> tuple[str, str]:
    """What a command says; all of it is Unicode, and nothing of it steers a terminal."""
    capsys.readouterr()
    assert main(list(args)) == code
    out, err = capsys.readouterr()
    assert shown(out + err) == out + err
    assert "\x1b" not in out + err
    return out, err


def strings(value: Any) -> list[str]:
    """Every text in what JSON holds."""
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (k, *strings(v))]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


def test_run_has_all_its_pictures_and_a_page_that_is_unicode(run: str, place: Path) -> None:
    drawn = {path.stem for path in Path(run, "plots").iterdir()}
    assert drawn == {
        "history", "blocks", "denoising", "trajectories", "confusion", "predictions", "confidence",
        "timeline",
    }  # fmt: skip
    page = Path(run, "report.html").read_bytes().decode()
    assert "not drawn" not in page
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", page)
    assert f"{place}/data\\xe9</td>" in page


def test_its_pictures_tell_its_classes(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "visualize", run, "--format", "svg", "--output", str(tmp_path))
    for name in ("confusion", "trajectories", "predictions"):
        text = (tmp_path / f"{name}.svg").read_text()
        assert r"caf\xe9" in text
        assert r"esc\x1b[31m" in text


def test_its_card_is_unicode(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "card", run)
    card = Path(run, "README.md").read_bytes().decode()
    assert r"`caf\xe9`, `esc\x1b[31m`" in card
    assert r"# run\xe9" in card


@pytest.mark.usefixtures("short_tries")
def test_its_options_open_its_data_again(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["train", "--config", f"{run}/config.yaml"]
    out, _ = told(capsys, *asked)
    assert out.endswith("run\\xe9\n")
    out, _ = told(capsys, *asked, "--dry-run")
    assert "classes" in out


def test_lists_of_runs_and_what_is_told_of_one(
    run: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = told(capsys, "runs", str(place))
    assert r"run\xe9" in out
    assert r"data\xe9" in out
    out, _ = told(capsys, "runs", str(place), "--json")
    (entry,) = map(json.loads, out.splitlines())
    assert (entry["name"], entry["dataset"]) == (r"run\xe9", f"{place}/data\\xe9")
    assert all(shown(text) == text for text in strings(entry))
    out, _ = told(capsys, "show", run)
    assert out.startswith(f"{place}/run\\xe9\n")
    out, _ = told(capsys, "show", run, "--json")
    assert all(shown(text) == text for text in strings(json.loads(out)))
    _, err = told(capsys, "runs", run, code=2)
    assert err.startswith(f"error: {place}/run\\xe9 is itself a run's folder")


@pytest.mark.parametrize("name", [b"run\xe9", b"it's \xe9", b"a\\b\xe9'\x1b", b"it's", b"a\nb"])
def test_commands_that_are_told_can_be_copied(
    name: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / os.fsdecode(name))
    make_run(Path(folder), finished=False)
    out, _ = told(capsys, "show", folder)
    command = next(line for line in out.splitlines() if line.startswith("noprop visualize"))
    echo = ["bash", "-c", command.replace("noprop visualize", "printf %s")]
    assert subprocess.run(echo, capture_output=True, check=True).stdout == os.fsencode(folder)


def test_evaluation(run: str, data: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(place / os.fsdecode(b"out\xe9"))
    out, err = told(capsys, "evaluate", run, "--dataset", data, "--output", output)
    assert f" of {place}/data\\xe9 (" in out
    assert "\ncaf\\xe9 " in out
    assert "\nesc\\x1b[31m " in out
    assert f"written to {place}/out\\xe9/evaluation.json\n" in out
    assert err == ""
    assert Path(output, "plots/evaluation.png").exists()
    written = json.loads(Path(output, "evaluation.json").read_text())
    assert all(shown(text) == text for text in strings(written))
    out, _ = told(capsys, "evaluate", run, "--json")
    assert json.loads(out)["class_names"][0] == r"caf\xe9"


def test_predictions(run: str, data: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = f"{data}/{LATIN}/{os.fsdecode(b'0')}\udce9.png"
    (place / "bad\udce9.png").write_bytes(b"no picture")
    asked = ["predict", run, picture, str(place / "bad\udce9.png"), "--top-k", "4"]
    out, err = told(capsys, *asked, code=1)
    assert out.startswith(f"{place}/data\\xe9/caf\\xe9/0\\xe9.png  ")
    assert r"caf\xe9 " in out
    assert f"left out {place}/bad\\xe9.png: it does not decode" in err
    output = str(place / os.fsdecode(b"said\xe9"))
    names = {r"caf\xe9", "na\xefve", "plain"}
    told(capsys, *asked, "--format", "jsonl", "--output", output, code=1)
    (line,) = map(json.loads, Path(output).read_text().splitlines())
    assert line["file"] == f"{place}/data\\xe9/caf\\xe9/0\\xe9.png"
    assert names < {top["class"] for top in line["top"]}
    told(capsys, *asked, "--format", "parquet", "--output", output, code=1)
    with Path(output).open("rb") as file:
        (row,) = pq.read_table(file).to_pylist()
    assert row["file"] == line["file"]
    assert names < set(row["classes"])


def test_export_and_what_was_exported(
    run: str, data: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(place / os.fsdecode(b"n\xe9.safetensors"))
    out, _ = told(capsys, "export", run, "--output", output)
    assert out.startswith(f"wrote {place}/n\\xe9.safetensors")
    out, _ = told(capsys, "export", run, "--output", output, "--json")
    assert json.loads(out)["file"] == f"{place}/n\\xe9.safetensors"
    out, _ = told(capsys, "predict", output, f"{data}/plain", "--top-k", "4")
    assert r"caf\xe9 " in out


def test_pictures_elsewhere(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = place / os.fsdecode(b"h\xe9.json")
    history.write_text('{"lr_history": [1]}')
    output = str(place / os.fsdecode(b"drawn\xe9"))
    out, err = told(capsys, "visualize", "--history", str(history), "--output", output)
    assert (out, err) == (f"{place}/drawn\\xe9/history.png\n", "")


@pytest.mark.usefixtures("short_tries")
def test_a_parquet_file_of_such_a_name_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    label = np.arange(100) % 2
    rows = pa.array((np.eye(2)[label] * 3).tolist(), pa.list_(pa.float32(), 2))
    pq.write_table(pa.table({"x": rows, "label": label}), tmp_path / "a.parquet")
    data = str((tmp_path / "a.parquet").rename(tmp_path / os.fsdecode(b"a\xe9.parquet")))
    out, _ = told(capsys, "train", *SMALL, "--quiet", "--dataset", data, "--dry-run")
    assert re.search(r"^sample shape +2$", out, re.MULTILINE)


@pytest.mark.parametrize(
    "args",
    [
        ["train", "--dataset", LATIN], ["train", "--config", LATIN], ["train", "--device", LATIN],
        ["train", "--name", f"{LATIN}/a"], ["train", f"--{LATIN}"], [LATIN], ["show", LATIN],
        ["visualize", LATIN], ["evaluate", LATIN], ["predict", LATIN, "x"], ["export", LATIN],
        ["tune", "--dataset", LATIN], ["tune", "--space", LATIN], ["runs", LATIN],
        ["compare", "--methods", LATIN],
    ],
    ids=lambda args: " ".join(shown(arg) for arg in args[:2]),
)  # fmt: skip
def test_a_sentence_names_them_alike(
    args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    _, err = told(capsys, *args, code=2)
    assert r"caf\xe9" in err
    assert err.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_any_terminal_takes_what_is_printed(
    encoding: str, run: str, data: str, repo: Path, place: Path
) -> None:
    picture = f"{data}/na\xefve/0\udce9.png"
    commands = [["show", run], ["predict", run, picture], ["evaluate", run, "--output", str(place)]]
    code = "\n".join(
        ["import sys", "from noprop_dist.cli import main"]
        + [f"assert main({args}) == 0" for args in commands]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=120, check=False,
        env=os.environ | {"PYTHONPATH": str(repo), "PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr.startswith(b"answers by ")
    assert done.stderr.count(b"\n") == 1
    told = done.stdout.decode()
    assert "\ncaf\\xe9 " in told
    assert ("\nna\xefve " if "utf" in encoding else "\nna\\xefve ") in told


@settings(database=None)
@given(text=ANY_TEXT)
def test_what_is_shown_is_unicode_and_says_the_same_of_all_else(text: str) -> None:
    told = shown(text)
    told.encode()
    assert shown(told) == told
    if not re.search("[\ud800-\udfff]", text):
        assert told == text
    line = printable(text)
    assert line.isprintable()
    assert printable(line) == line
    assert str(UserError(text)) == line
    assert json.loads(json_line({text: [text]})) == {told: [told]}


@settings(database=None)
@given(name=st.binary())
def test_bytes_that_are_no_utf8_are_told_as_such(name: bytes) -> None:
    assert shown(os.fsdecode(name)) == name.decode("utf-8", "backslashreplace")
