"""Features of a frozen network: computed once, and pictures in again whatever uses the run."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from noprop_dist import TrainConfig, TrainResult, UserError, load_network, train
from noprop_dist.cli import main
from noprop_dist.data import load_dataset
from noprop_dist.engine.splits import load_splits
from noprop_dist.model.backbone import Backbone
from noprop_dist.tune.space import read_space
from runs import events, small

pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter

OF: dict[str, Any] = {
    "features": "torchvision:squeezenet1_1",
    "image_size": 32,
    "max_train_images": 200,
    "epochs": 2,
    "num_blocks": 2,
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("features")


@pytest.fixture(autouse=True)
def _cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOPROP_CACHE", str(place / "cache"))


@pytest.fixture(scope="module")
def trained(place: Path) -> TrainResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOPROP_CACHE", str(place / "cache"))
        return train(small(place / "run", **OF))


def test_they_are_computed_once_and_weights_that_are_random_are_called_so(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (began,) = events(Path(trained.folder), "run_started")
    assert "512 features of each by torchvision:squeezenet1_1, random weights" in began["data"]

    def computed(*_: object) -> None:
        raise AssertionError("they are in the cache")

    monkeypatch.setattr(Backbone, "forward", computed)
    other = train(small(tmp_path / "other", **OF, lr=0.01))
    assert other.fingerprint == trained.fingerprint
    assert other.block_sha256 != trained.block_sha256


def test_the_run_keeps_them_as_a_data_set_that_trains_the_same_blocks(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noprop_dist.data.shards.SHARD_ROWS", 150)
    first = train(small(tmp_path / "first", **OF))
    assert first.block_sha256 == trained.block_sha256
    features = tmp_path / "first/features"
    assert sorted(path.name for path in features.iterdir()) == [
        "test-00000-of-00003.parquet", "test-00001-of-00003.parquet",
        "test-00002-of-00003.parquet", "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet", "val-00000-of-00001.parquet",
    ]  # fmt: skip
    same = {key: OF[key] for key in ("epochs", "num_blocks")}
    again = train(small(tmp_path / "again", dataset=str(features), **same))
    assert again.block_sha256 == first.block_sha256
    assert again.test_accuracy == first.test_accuracy


def test_a_run_that_was_moved_takes_pictures(
    trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, file = str(tmp_path / "moved"), str(tmp_path / "network.safetensors")
    shutil.copytree(trained.folder, run)
    monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(7)  # makes no difference to weights that are random
    assert main(["evaluate", run]) == 0
    evaluated = json.loads((tmp_path / "moved/evaluation.json").read_text())
    accuracy = evaluated["readouts"]["z_T"]["accuracy"]
    assert accuracy["mean"] == trained.test_accuracy["z_T"].mean
    assert evaluated["notes"] == []
    images = load_dataset("digits", image_size=32).test.take(np.arange(9))[0]
    said = load_network(run, precision="fp32").predict(images)
    assert main(["export", run, "--output", file]) == 0
    again = load_network(file, precision="fp32").predict(images)
    assert np.array_equal(said.probabilities, again.probabilities)
    graph = str(tmp_path / "network.pt2")
    assert main(["export", run, "--format", "torch-export", "--output", graph]) == 0


def test_features_that_are_there_already_are_predicted_from(
    trained: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = load_dataset("digits", image_size=32).test.take(np.arange(3))[0]
    network = load_network(trained.folder, precision="fp32")
    assert network.backbone is not None
    features = network.backbone(torch.from_numpy(images)).tolist()
    pq.write_table(pa.table({"image": pa.array(features)}), tmp_path / "features.parquet")
    args = ["--precision", "fp32", "--readout", "mean_softmax", "--draws", "9", "--format", "jsonl"]
    told = []
    Image.fromarray(images[0][0]).save(tmp_path / "0.png")
    for name in ("features.parquet", "0.png"):
        assert main(["predict", trained.folder, str(tmp_path / name), *args]) == 0
        told.append([json.loads(line) for line in capsys.readouterr().out.splitlines()])
    assert [t["row"] for t in told[0]] == [0, 1, 2]
    of_features, of_picture = (
        {top["label"]: top["probability"] for top in t[0]["top"]} for t in told
    )
    label = max(of_picture, key=of_picture.__getitem__)  # noise is of what is given, and so differs
    assert of_features[label] == pytest.approx(of_picture[label], abs=0.2)


def test_weights_are_the_run_s_own(trained: TrainResult, tmp_path: Path) -> None:
    weights = tmp_path / "squeezenet.safetensors"
    save_file(squeezenet1_1(weights=None).state_dict(), weights)
    given = load_splits(small(tmp_path, **OF, features_weights=str(weights)))
    assert "weights of squeezenet.safetensors" in given.told
    with pytest.raises(UserError, match="began with other weights of its --features, which"):
        train(small(Path(trained.folder), **OF, features_weights=str(weights)))
    kept = f"{trained.folder}/backbone.safetensors"
    again = train(small(Path(trained.folder), **OF, features_weights=kept))
    assert again.block_sha256 == trained.block_sha256
    shutil.copytree(trained.folder, tmp_path / "copy")
    net = squeezenet1_1(weights=None)
    save_file(net.state_dict(), tmp_path / "copy/backbone.safetensors")
    with pytest.raises(UserError, match="holds other weights of torchvision:squeezenet1_1 than"):
        load_network(tmp_path / "copy")


def test_weights_of_timm_come_from_the_hub_s_cache(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm = pytest.importorskip("timm")
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    config = small(tmp_path, **(OF | {"features": "timm:test_resnet.r160_in1k"}))
    told = load_splits(config).told
    assert "random weights: those of timm/test_resnet.r160_in1k could not be had" in told
    home = tmp_path / "models--timm--test_resnet.r160_in1k"
    (home / "snapshots" / "77f3279").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs/main").write_text("77f3279")
    net = timm.create_model("test_resnet")
    save_file(net.state_dict(), home / "snapshots/77f3279/model.safetensors")
    splits = load_splits(config)
    assert splits.told.endswith(", weights of timm/test_resnet.r160_in1k")
    first = load_dataset("digits", image_size=32).test.take(np.arange(4))[0]
    cfg = net.pretrained_cfg
    mean, std = (torch.tensor(cfg[name]).view(-1, 1, 1) for name in ("mean", "std"))
    x = (torch.from_numpy(first).expand(-1, 3, -1, -1) / 255 - mean) / std
    with torch.inference_mode():
        wanted = net.eval().forward_head(net.forward_features(x), pre_logits=True)
    np.testing.assert_allclose(splits.test.take(np.arange(4))[0], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"augmentation": "standard"}, "--augmentation standard has no meaning with --features"),
        ({"cutmix": 1.0}, "--cutmix 1.0 has no meaning with --features"),
        ({"features": None, "features_weights": "x"}, "--features-weights are of --features"),
        ({"features": "resnet18"}, "names no network: give torchvision:NAME or timm:NAME"),
        ({"features": "torchvision:resnet17"}, "torchvision has no network of this name"),
        ({"features": "timm:resnet17"}, "timm has no such network|needs timm"),
        ({"image_size": 8}, "takes no pictures of 8x8 .*: give the --image-size that it was"),
        ({"features_weights": "none.safetensors"}, "none.safetensors cannot be read"),
        ({"features_weights": "weights.pth"}, "weights.pth is no safetensors file .* not read"),
        ({"features_weights": "few.safetensors"}, "few.safetensors lacks features.0.weight, one"),
        ({"block": "conv"}, "--block conv cannot take vectors: give --block mlp"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    changed: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(squeezenet1_1(weights=None).state_dict(), "weights.pth")
    save_file({"fc.weight": torch.zeros(2)}, "few.safetensors")
    with pytest.raises(UserError, match=says) as told:
        train(small(tmp_path / "run", **(OF | changed)))
    assert "\n" not in str(told.value)
    assert not (tmp_path / "run").exists()


def test_a_sweep_s_own_space_varies_nothing_that_changes_pictures() -> None:
    assert "augmentation" in read_space("default", TrainConfig())
    assert "augmentation" not in read_space("default", TrainConfig(**OF))


def test_vectors_have_no_features() -> None:
    x, y = np.random.default_rng(0).random((20, 5), np.float32), np.arange(20) % 2
    with pytest.raises(UserError, match="needs images; this data set holds vectors"):
        load_splits(TrainConfig(features="torchvision:resnet18"), ((x, y), (x, y)))
