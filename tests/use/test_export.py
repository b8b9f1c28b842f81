"""Exported files: they answer as the original does, and what does not is never written."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from noprop_dist import UserError, load_network, train
from noprop_dist.cli import main
from noprop_dist.data import load_dataset
from noprop_dist.data.shards import Array
from noprop_dist.record.portable import PortableNetwork, seeds_of
from noprop_dist.use import export
from noprop_dist.use.export import Answers, export_network, largest_difference
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.rows import rows_for
from runs import small

pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter


@pytest.fixture(scope="module")
def images() -> Array:
    return load_dataset("digits").test.take(np.arange(9))[0]


def portable(run: OpenRun, draws: int) -> PortableNetwork:
    trained = run.trained
    return PortableNetwork(trained.network, trained.normalisation, draws, trained.answering)


def assert_same(found: Answers, wanted: Answers) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=0)


def test_safetensors_file_is_the_network(
    trained_folder: Path, images: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.safetensors"
    assert main(["export", str(trained_folder), "--output", str(output), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["largest_difference"], told["checked_images"]) == (0.0, 359)
    assert told["size_bytes"] == output.stat().st_size
    again = load_network(output, precision="fp32").predict(images)
    original = load_network(trained_folder, precision="fp32").predict(images)
    assert np.array_equal(again.probabilities, original.probabilities)
    assert again.class_names == original.class_names
    data = output.read_bytes()
    output.write_bytes(data[:-100])
    with pytest.raises(UserError, match="is damaged or no safetensors file"):
        load_network(output)


def test_draws_of_an_exported_network_share_the_features_of_an_image(
    opened: OpenRun, images: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = portable(opened, 5)
    asked: list[int] = []

    def counting(features: Callable[..., Any]) -> Callable[..., Any]:
        def counted(x: torch.Tensor, *more: Any) -> Any:
            asked.append(len(x))
            return features(x, *more)

        return counted

    for block in made.network.blocks:
        monkeypatch.setattr(block, "features", counting(block.features))
    made(torch.from_numpy(images), torch.from_numpy(seeds_of(images, 0)))
    assert asked == [len(images)] * len(made.network.blocks)


def test_torch_export_file_answers_as_the_original(
    trained_folder: Path, opened: OpenRun, images: Array, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    output = tmp_path / "x.pt2"
    args = ["--format", "torch-export", "--draws", "2", "--output", str(output)]
    assert main(["export", str(trained_folder), *args]) == 0
    assert "the mean of 2 noise draws" in capsys.readouterr().out
    more = {"noprop.json": ""}
    data = io.BytesIO(output.read_bytes())
    module = torch.export.load(data, extra_files=more).module()
    assert json.loads(more["noprop.json"])["class_names"] == list("0123456789")
    original = portable(opened, 2)
    for seed in (0, 5):
        seeds = torch.from_numpy(seeds_of(images, seed))
        found = [p.detach().numpy() for p in module(torch.from_numpy(images), seeds)]
        assert_same(tuple(found), original.classify(images, seed))


def test_predict_in_fp32_gives_the_answers_of_the_file(
    run_folder: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = run_folder / "config.yaml"
    config.write_text(config.read_text().replace("precision: fp32", "precision: bf16"))
    output = tmp_path / "x.pt2"
    assert (
        main(["export", str(run_folder), "--format", "torch-export", "--output", str(output)]) == 0
    )
    module = torch.export.load(output).module()
    files = sorted(pictures.rglob("*.png"))
    samples = np.stack([np.asarray(Image.open(file))[None] for file in files])
    p = module(torch.from_numpy(samples), torch.from_numpy(seeds_of(samples, 5)))[2].detach()
    args = [*map(str, files), "--seed", "5", "--top-k", "10", "--format", "jsonl"]
    differences = []
    for more in (["--precision", "fp32"], []):  # by default what the run was asked for, bf16
        capsys.readouterr()
        assert main(["predict", str(run_folder), *args, *more]) == 0
        told = [json.loads(line)["top"] for line in capsys.readouterr().out.splitlines()]
        said = [{int(top["class"]): top["probability"] for top in tops} for tops in told]
        rows = zip(p.numpy(), said, strict=True)
        differences.append(max(abs(row[k] - s[k]) for row, s in rows for k in range(10)))
    assert differences[0] < 2e-5  # 1e-5, and what a line of JSON rounds off
    assert differences[1] > 2e-5


def test_onnx_file_answers_as_the_original(
    trained_folder: Path, opened: OpenRun, images: Array, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    output = tmp_path / "x.onnx"
    assert main(["export", str(trained_folder), "--format", "onnx", "--output", str(output)]) == 0
    assert "largest difference from the original on 359 images" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(output), providers=["CPUExecutionProvider"])
    assert [value.shape[0] for value in (*session.get_inputs(), *session.get_outputs())] == [
        "N"
    ] * 5
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["noprop.json"])["class_names"] == list("0123456789")
    original = portable(opened, 1)
    for seed in (0, 5):
        found = session.run(None, {"samples": images, "seed": seeds_of(images, seed)})
        assert_same(tuple(found), original.classify(images, seed))


def test_what_answers_otherwise_is_not_written(
    opened: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(run: OpenRun, draws: int) -> tuple[bytes, export.Answer]:
        original = portable(run, draws)

        def answer(samples: Array, seeds: Array) -> Answers:
            *others, answer = original.classify(samples, 0)
            return *others, answer + np.float32(2e-5)

        return b"worse", answer

    monkeypatch.setitem(export._MAKERS, "onnx", worse)
    output = tmp_path / "x.onnx"
    with pytest.raises(UserError, match=r"would differ from the original by 2.0e-05"):
        export_network(opened, rows_for(opened), "onnx", str(output))
    assert list(tmp_path.iterdir()) == []


def test_a_nan_is_infinitely_far(opened: OpenRun, images: Array) -> None:
    def nothing(samples: Array, seeds: Array) -> Answers:
        nan = np.full((len(samples), 10), np.nan, np.float32)
        return nan, nan, nan

    assert largest_difference(opened, nothing, images, 1) == np.inf


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--format", "onx"], "--format onx is unknown; did you mean onnx?"),
        (["--format", "torchexport"], "did you mean torch-export?"),
        (
            ["--format", "tflite"],
            "--format tflite is unknown; known are safetensors, torch-export, onnx.",
        ),
        (
            ["--format", "zzz"],
            "--format zzz is unknown; known are safetensors, torch-export, onnx.",
        ),
        (["--draws", "2"], "--draws has no meaning for safetensors"),
        (["--output", "/dev/null/x"], "cannot be written"),
        (
            ["--output", "x.onnx"],
            "--output x.onnx ends like another format than --format safetensors",
        ),
        (["--format", "torch-export", "--output", "x.torch-export"], "whose files end in .pt2"),
        (["--output", "."], "is a folder"),
        (["--dataset", "./missing"], "no such file or folder"),
    ],
)
def test_bad_options_get_one_sentence(
    args: list[str], says: str, trained_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(trained_folder), *args]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_are_named(
    opened: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx and .* install noprop-dist\[onnx\]"):
        export_network(opened, rows_for(opened), "onnx", str(tmp_path / "x.onnx"))


def test_network_too_large_for_onnx_is_refused(
    opened: OpenRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ONNX_BYTES", 10**6)
    pytest.importorskip("onnxscript")
    with pytest.raises(UserError, match="does not fit one ONNX file"):
        export_network(opened, rows_for(opened), "onnx", str(tmp_path / "x.onnx"))


@pytest.mark.parametrize("block", ["mlp", "prototype"])
def test_other_networks_can_be_exported(opened: OpenRun, block: str) -> None:
    """Vectors, and z that is shaped like an image, with random weights."""
    from noprop_dist.data.normalise import Normalisation
    from noprop_dist.engine.snapshot import first_shared
    from noprop_dist.model.init import init_block
    from noprop_dist.model.network import NoPropNetwork
    from noprop_dist.model.registry import make_block

    draw = torch.Generator().manual_seed(0)
    if block == "mlp":
        changes = {"block": "mlp", "sample_shape": (6,), "embedding_type": "learned"}
        dim, norm = 12, Normalisation((0.5,) * 6, (2.0,) * 6)
        samples = torch.randn(7, 6, generator=draw).numpy()
    else:
        changes = {"sample_shape": (1, 8, 8), "embedding_type": "prototype"}
        dim, norm = 64, opened.trained.normalisation
        samples = torch.randint(0, 256, (7, 1, 8, 8), generator=draw, dtype=torch.uint8).numpy()
    spec = replace(
        opened.trained.network.spec, num_blocks=1, embed_dim=dim, readout="radial", **changes
    )
    blocks = {1: init_block(make_block(spec, 1), draw).state_dict()}
    network = NoPropNetwork.assemble(
        spec, blocks, first_shared(torch.randn(10, dim, generator=draw))
    )
    run = replace(opened, trained=replace(opened.trained, network=network, normalisation=norm))
    _, answer = export._MAKERS["torch-export"](run, 1)
    assert largest_difference(run, answer, samples, 1) < 1e-5


EXPORTED = [("ct", "onnx"), ("fm", "torch-export"), ("ranges", "torch-export"), ("none", "onnx")]


@pytest.mark.parametrize(("objective", "target"), EXPORTED)
def test_networks_of_other_objectives_are_found_again_and_exported(
    objective: str, target: str, images: Array, tmp_path: Path
) -> None:
    """Noise levels, steps and solver are the network's own: no option of the run is needed."""
    if target == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
    steps = {} if objective == "none" else {"steps_per_block": 2, "solver": "heun"}
    options = {"objective": objective, "num_blocks": 2, "epochs": 1, "precision": "fp32"}
    result = train(small(tmp_path, max_train_images=100, **options, **steps))
    (tmp_path / "config.yaml").unlink()
    network = load_network(Path(result.folder, "model"), "cpu", "fp32")
    assert network.network.spec.steps_per_block == steps.get("steps_per_block", 1)
    run = OpenRun("again", network, None)
    _, answer = export._MAKERS[target](run, 1)
    assert largest_difference(run, answer, images, 1) < 1e-5
