"""What is no run, or no run of this version, gets one sentence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file

from noprop_dist import UserError
from noprop_dist.cli import main
from noprop_dist.use.opening import home_of, open_run


def rewrite(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Change network.json as another version might have written it, with a hash that is right."""
    path = folder / "model/network.json"
    described = json.loads(path.read_text())
    del described["sha256"]
    change(described)
    text = json.dumps(described, sort_keys=True)
    described["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.update(format=2), "is not of format 1"),
        (lambda d: d.pop("format"), "is not of format 1"),
        (lambda d: d["spec"].update(gates=3), "is not one that this version knows"),
        (lambda d: d["spec"].update(num_blocks=4), "is not one that this version knows"),
        (lambda d: d["spec"].update(block="cnn"), "is not one that this version knows"),
    ],
)
def test_model_of_another_version_is_refused(
    change: Callable[[dict[str, object]], object],
    says: str,
    run_folder: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rewrite(run_folder, change)
    for command in (["predict", str(run_folder), str(pictures)], ["export", str(run_folder)]):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["evaluate", "export", "predict"])
def test_folder_that_is_no_run_gets_one_sentence(
    command: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [str(pictures)] if command == "predict" else []
    for folder, says in (
        (pictures, "holds no trained network and no checkpoint"),
        (tmp_path / "nowhere", "there is no such run folder"),
        (tmp_path / "nowhere.safetensors", "nowhere.safetensors: there is no such file"),
    ):
        assert main([command, str(folder), *more]) == 2
        err = capsys.readouterr().err
        assert says in err
        assert err.count("\n") == 1


def test_damaged_newest_checkpoint_gives_way_to_the_one_before(run_folder: Path) -> None:
    (run_folder / "model/network.json").unlink()
    older, newest = sorted((run_folder / "checkpoints").iterdir())
    (newest / "block-002.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="give another checkpoint"):
        open_run(str(newest))
    run = open_run(str(run_folder))
    assert "is truncated or was altered" in run.notes[0]
    assert f"using {older.name}" in run.notes[1]
    assert home_of(str(older)) == str(run_folder)


def test_neighbour_stands_in_for_a_block_that_was_set_aside(run_folder: Path) -> None:
    from noprop_dist.record.checkpoint import load_newest
    from noprop_dist.record.store import Store
    from noprop_dist.use.opening import newest_network

    loaded = load_newest(Store(run_folder))
    assert loaded is not None
    loaded.state["set_aside"] = {"3": "on purpose"}
    tensors = newest_network(loaded, "here")
    name = "head.0.weight"
    assert tensors[f"blocks.2.{name}"].equal(tensors[f"blocks.1.{name}"])
    assert not tensors[f"blocks.0.{name}"].equal(tensors[f"blocks.1.{name}"])
    loaded.state["set_aside"] = dict.fromkeys("123", "on purpose")
    with pytest.raises(UserError, match="all were set aside"):
        newest_network(loaded, "here")


@pytest.mark.parametrize("content", ["tensors", "text"])
def test_safetensors_file_that_is_no_network_gets_one_sentence(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    path = tmp_path / "other.safetensors"
    if content == "text":
        path.write_text("hello")
    else:
        save_file({"a": torch.zeros(2)}, path)
    assert main(["evaluate", str(path), "--dataset", "digits"]) == 2
    err = capsys.readouterr().err
    assert "safetensors file" in err or "not a network that this version reads" in err
    assert err.count("\n") == 1


def test_config_that_no_run_writes_is_refused(run_folder: Path) -> None:
    for text, says in (
        ("- 1", "lines option: value"),
        ("a: [", "not valid YAML"),
        ("x: 1", "unknown"),
    ):
        (run_folder / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=says):
            open_run(str(run_folder))


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_help_needs_no_torch(command: str, repo: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from noprop_dist.cli import main\n"
        f"try: main(['{command}', '--help'])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=repo
    )
    assert done.returncode == 0, done.stderr
    assert "RUN" in done.stdout
