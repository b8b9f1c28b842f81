"""A block of the user's own: recorded, found again, and run only where it is named."""

import hashlib
import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noprop_dist import TrainConfig, UserError, load_network, train
from noprop_dist.cli import main
from noprop_dist.merging import merge
from noprop_dist.model.own_block import _load
from noprop_dist.training import train_blocks
from noprop_dist.tune.network_trial import trial_config
from runs import same, small

SOURCE = """
from torch import nn
from noprop_dist.model.block import Block, Takes

class Own(Block):
    takes = Takes("images", level=True)

    def __init__(self, shape, *, width=16, deep=False):
        super().__init__(shape)
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(64, width))
        self.label = nn.Linear(shape.embed_dim, width)
        self.head = nn.Linear(width, shape.num_classes)

    def features(self, x, generator=None):
        return self.image(x)

    def classify(self, z, features, generator=None, level=None):
        return self.head((features + self.label(z)).relu())
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a block in a package of the working directory."""
    package = tmp_path / "mypkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "blocks.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mypkg", raising=False)  # another test's
    return "mypkg.blocks:Own"


@pytest.mark.parametrize(
    ("written", "instead", "says"),
    [
        ("(width, shape.num_classes)", "(width, 3)", r"logits of 2 samples are \(2, 3\)"),
        (
            "nn.Linear(64, width)",
            "nn.Linear(63, width)",
            r"in line 15 \(RuntimeError: addmm",
        ),
        (".relu())", ".relu()).detach()", "logits depend on none of its parameters"),
        ("super().__init__(shape)", "raise KeyError('w')", r"in line 9 \(KeyError: 'w'\)"),
        ("from torch import nn", "raise SystemExit(3)", r"cannot be imported \(SystemExit: 3\)"),
    ],
)
def test_a_block_that_cannot_be_trained_gets_a_sentence_that_names_it(
    own: str, tmp_path: Path, written: str, instead: str, says: str
) -> None:
    source = tmp_path / "mypkg/blocks.py"
    source.write_text(SOURCE.replace(written, instead))
    name = f"{source}:Own"
    with pytest.raises(UserError, match=f"^--block {name} .*{says}"):
        train(small(tmp_path / "run", epochs=1), block=name)
    assert not (tmp_path / "run/checkpoints").exists()


def test_the_weights_of_a_run_with_an_own_block_begin_another(own: str, tmp_path: Path) -> None:
    base = train(small(tmp_path / "run", epochs=1), block=own)
    still = small(tmp_path / "other", epochs=1, lr=1e-12, weight_decay=0.0, dropout=0.0)
    tuned = train(still, block=own, init_from=base)
    assert tuned.test_accuracy["z_T"].mean == pytest.approx(
        base.test_accuracy["z_T"].mean, abs=0.03
    )


def test_ablate_asks_a_network_of_an_own_block(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(small(tmp_path / "run", epochs=1), block=own)
    assert main(["ablate", "run"]) == 2
    assert f"give --block {own}" in capsys.readouterr().err
    assert main(["ablate", "run", "run", "--draws", "1", "--block", own]) == 0


def test_blocks_of_own_code_are_merged_where_the_user_names_it(own: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "mypkg/blocks.py").write_text(SOURCE + f"\nopen({str(ran)!r}, 'w').close()\n")
    options = {"epochs": 1, "block": own}
    parts = [
        train_blocks(small(tmp_path / which, blocks=which, **options)).folder for which in "123"
    ]
    whole = train(small(tmp_path / "whole", **options))
    ran.unlink()
    _load.cache_clear()  # as in another process
    with pytest.raises(UserError, match="is run only where you say so"):
        merge(parts, run_dir=str(tmp_path / "merged"))
    assert not ran.exists()
    assert same(merge(parts, block=own, run_dir=str(tmp_path / "merged")), whole)


def test_code_is_never_run_because_a_run_folder_names_it(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "mypkg/blocks.py").write_text(SOURCE + f"\nopen({str(ran)!r}, 'w').close()\n")
    options = small(Path("run"), epochs=1)
    train(options, block=own)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save("dark.png")
    ran.unlink()
    _load.cache_clear()  # as in another process

    def said(command: str, code: int) -> str:
        capsys.readouterr()
        assert main(command.split()) == code, command
        assert not ran.exists(), command
        return capsys.readouterr().err

    missing = f"is run only where you say so: give --block {own}"
    for command in ("predict run dark.png", "evaluate run", "export run", "ablate run"):
        err = said(command, 2)
        assert missing in err
        assert err.count("\n") == 1
    for command in ("train", "tune --samples 1", "compare"):
        err = said(f"{command} --config run/config.yaml", 2)
        assert err == (
            f"error: --config run/config.yaml names code, {own}, which runs only where you say so: "
            f"give --block {own} too.\n"
        )
    assert said("show run", 0) == ""
    assert missing in said("visualize run", 0)
    with pytest.raises(UserError, match=missing):
        load_network("run")
    with pytest.raises(UserError, match=missing):
        train(replace(options, run_dir="other"), init_from="run")
    with pytest.raises(UserError, match=f"--block {own} there, auto now"):
        train(replace(options, run_dir="other", resume_from="run"))
    assert not ran.exists()
    assert "no module elsewhere" in said("visualize run --block elsewhere:Own", 2)
    assert main(["visualize", "run", "--block", own]) == 0
    assert ran.exists()
    assert "run/plots/trajectories.png" in capsys.readouterr().out.splitlines()


def test_a_run_s_own_block_is_found_again_or_missed_in_a_sentence(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(tmp_path / "run", epochs=1, precision="fp32", block_options="width=24")
    train(config, block=own)
    images = np.zeros((3, 1, 8, 8), np.uint8)
    with pytest.raises(UserError, match=f"is run only where you say so: give --block {own}"):
        load_network("run")
    trained = load_network("run", block=own)
    assert trained.network.block(1).image[1].out_features == 24
    assert main(["evaluate", "run", "--device", "cpu"]) == 2
    assert main(["evaluate", "run", "--device", "cpu", "--block", own]) == 0
    assert main(["train", "--config", "run/config.yaml"]) == 2
    assert f"names code, {own}" in capsys.readouterr().err
    assert main(["export", "run", "--block", own]) == 0
    assert load_network("network.safetensors", block=own).network.spec == trained.network.spec
    source = tmp_path / "mypkg/blocks.py"
    source.write_text(SOURCE + "# changed")
    with pytest.raises(UserError, match="began with other code of its block"):
        train(config, block=own)
    with pytest.raises(UserError, match=r"is not the code that run was trained with .* block\.py"):
        load_network("run", block=own)
    source.unlink()
    kept = load_network("run", block="run/block.py:Own")
    assert (kept.predict(images).probabilities == trained.predict(images).probabilities).all()


def test_a_run_of_an_own_block_predicts_and_tells_whose_code_it_is(
    own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ran, source = tmp_path / "ran", tmp_path / "mypkg/blocks.py"
    source.write_text(SOURCE + f"\nopen({str(ran)!r}, 'w').close()\n")
    train(small(tmp_path / "run", epochs=1), block=own)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "dark.png")
    assert main(["predict", "run", "dark.png"]) == 2
    assert f"give --block {own}" in capsys.readouterr().err
    for place in (own, "mypkg/blocks.py:Own", "run/block.py:Own"):
        assert main(["predict", "run", "dark.png", "--format", "jsonl", "--block", place]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 3
    assert len(set(said)) == 1

    def shown() -> str:
        ran.unlink(missing_ok=True)
        assert main(["show", "run"]) == 0
        assert not ran.exists()
        return " ".join(capsys.readouterr().out.split())

    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    assert f"{own}, sha256 {sha256}; its source is as it was" in shown()
    source.write_text(SOURCE)
    assert f"sha256 {sha256}; its source has changed since; the run keeps it as block.py" in shown()
    source.unlink()
    assert f"sha256 {sha256}; its source is not here; the run keeps it as block.py" in shown()
    assert main(["show", "run", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["own_block"]
    assert told == {"name": own, "sha256": sha256, "source": "not here"}


def test_the_same_code_by_any_name_and_as_a_class_makes_the_same_model(
    own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = train(small(tmp_path / "module", epochs=1), block=own)
    monkeypatch.delitem(sys.modules, "mypkg.blocks", raising=False)
    code = import_module("mypkg.blocks").Own
    given = train(small(tmp_path / "class", epochs=1), block=code)
    assert same(module, given)
    said = given.network.predict(images := np.zeros((3, 1, 8, 8), np.uint8)).probabilities
    for block in (own, code):
        loaded = load_network(tmp_path / "class", block=block)
        assert (loaded.predict(images).probabilities == said).all()
    assert given.config["block"] == own
    file = train(small(tmp_path / "file", epochs=1), block="mypkg/blocks.py:Own")
    assert same(module, file)
    assert module.network.answering.readout == file.network.answering.readout


def test_how_the_place_of_a_block_is_written_does_not_matter(own: str, tmp_path: Path) -> None:
    config = small(tmp_path / "run", epochs=1, lr_schedule="constant")
    first = train(config, block="mypkg/blocks.py:Own")
    again = train(config, block=own)  # it has finished: nothing to train
    assert again.train_seconds == first.train_seconds
    moved = (tmp_path / "mypkg/blocks.py").rename(tmp_path / "moved.py")
    grown = train(replace(config, epochs=2), block=f"{moved}:Own")
    assert grown.epochs == 2
    unnamed = TrainConfig()
    hashes = {"block": "of its text"}
    assert unnamed.name_for(hashes, block="a.py:Own") == unnamed.name_for(hashes, block="b:Own")
    assert unnamed.name_for(hashes, block="a.py:Own") != unnamed.name_for(hashes, block="a.py:Two")


def test_a_file_may_import_what_lies_beside_it(own: str, tmp_path: Path) -> None:
    (tmp_path / "mypkg/beside.py").write_text("from torch.nn import Linear\n")
    near = SOURCE.replace("from torch import nn", "from torch import nn\nfrom beside import Linear")
    (tmp_path / "mypkg/near.py").write_text(near.replace("nn.Linear", "Linear"))
    path = list(sys.path)
    assert train(small(tmp_path / "near", epochs=1), block="mypkg/near.py:Own").epochs == 1
    assert sys.path == path
    other = tmp_path / "other/near.py"
    other.parent.mkdir()
    other.write_text((tmp_path / "mypkg/near.py").read_text())
    other.with_name("beside.py").write_text("raise ValueError('another neighbour')")
    with pytest.raises(UserError, match="another neighbour"):
        train(small(tmp_path / "other run", epochs=1), block=f"{other}:Own")
    assert "beside" not in sys.modules
    with pytest.raises(UserError, match="No module named 'beside'"):  # no hash vouches for it
        load_network("near", block="near/block.py:Own")
    (tmp_path / "mypkg/inside.py").write_text("from .beside import Linear\n" + SOURCE)
    with pytest.raises(UserError, match=r"a file in a package is named package\.module:Own"):
        train(small(tmp_path / "inside", epochs=1), block="mypkg/inside.py:Own")


@pytest.mark.parametrize(
    ("block", "options", "says"),
    [
        ("mypkg.other:Own", None, "there is no module mypkg.other here"),
        ("none.py:Own", None, "none.py cannot be read"),
        ("mypkg.blocks:Other", None, "has no class Other that is a noprop_dist Block"),
        ("mypkg.blocks:nn", None, "has no class nn that is a noprop_dist Block"),
        ("broken.py:Own", None, "cannot be imported .ZeroDivisionError"),
        ("mypkg.blocks:Own", "depth=2", "takes the options width, deep"),
        ("mypkg.blocks:Own", "width", "must be name=value"),
        ("resnet50", None, "--block must be one of auto, conv, .* or a class of your own"),
    ],
)
def test_a_block_that_cannot_be_is_refused_in_a_sentence(
    own: str, tmp_path: Path, block: str, options: str | None, says: str
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(UserError, match=says):
        train(small(tmp_path / "run", block=block, block_options=options))
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_a_block_that_fails_late_is_told_in_a_sentence_with_its_line(
    own: str, tmp_path: Path, executor: str
) -> None:
    late = "if len(z) == 24:\n            raise ValueError('no more')\n        return self.head"
    Path("late.py").write_text(SOURCE.replace("return self.head", late))
    config = small(tmp_path / "run", epochs=1, batch_size=24, executor=executor, workers=1)
    with pytest.raises(UserError, match=r"line 19 of late\.py failed \(ValueError: no more\)"):
        train(config, block="late.py:Own")


def test_a_search_space_names_no_code() -> None:
    with pytest.raises(UserError, match="a search space names no code"):
        trial_config(TrainConfig(), {"block": "elsewhere.py:Own"}, ".", "trial")
