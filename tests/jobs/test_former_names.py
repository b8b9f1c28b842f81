"""Options under the names that they had before: flags, YAML files, Python, folders of runs."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from made_runs import make_run
from noprop_dist import TrainConfig, UserError
from noprop_dist.cli import main
from noprop_dist.engine.resume import check_same_options
from noprop_dist.options import parse_command, parse_own
from noprop_dist.record.run_config import read_config
from noprop_dist.record.store import Store
from noprop_dist.tune.space import read_space
from noprop_dist.use.flags import EvaluateOptions, ExportOptions, PredictOptions

FORMER = {
    "checkpoint_dir": "a", "checkpoint": "b", "schedule": "linear", "lr_scheduler_patience": 3,
    "no_plots": True, "no_cuda": True, "no_cuda_graphs": True,
}  # fmt: skip
NOW = TrainConfig(
    run_dir="a", resume_from="b", noise_schedule="linear", lr_patience=3, plots=False, device="cpu",
    cuda_graphs=False,
)  # fmt: skip


def test_former_flags_mean_what_they_meant_and_say_their_new_names_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = "--checkpoint-dir a --checkpoint=b --schedule linear --lr-scheduler-patience 3"
    argv = [*flags.split(), "--no-plots", "--no_cuda", "--no-cuda-graphs"]
    assert parse_command(argv).config == NOW
    said = capsys.readouterr().err
    assert said.startswith("note: ")
    assert said.count("\n") == 1
    for told in ("--checkpoint-dir is now --run-dir", "--no-cuda is now --device cpu"):
        assert said.count(told) == 1
    parse_command([*argv, "--quiet"])
    parse_command(["--run-dir", "a", "--no-plots", "--device", "cpu"])
    assert capsys.readouterr().err == ""


def test_former_keys_of_a_yaml_file_and_flags_over_them(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(FORMER))
    given = ["--config", str(file)]
    assert parse_command(given).config == NOW
    over = parse_command([*given, "--plots", "--checkpoint-dir", "c", "--device", "cuda"]).config
    assert over == replace(NOW, plots=True, run_dir="c", device="cuda")
    file.write_text("tensorboard: true\nno_plots: true\n")
    config = parse_command([*given, "--no-tensorboard"]).config
    assert (config.tensorboard, config.plots) == (False, False)
    assert parse_command([*given, "--tensorboard"]).config.tensorboard


def test_python_takes_them_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="checkpoint_dir is now run_dir; .*plots: False"):
        assert TrainConfig(**FORMER) == NOW
    with (
        pytest.warns(DeprecationWarning, match="no_cuda"),
        pytest.raises(UserError, match="--no-cuda contradicts --device cuda"),
    ):
        TrainConfig(device="cuda", no_cuda=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("argv", "options", "told", "now"),
    [
        ("run --batch 7", EvaluateOptions, "--batch is now --batch-size", {"batch_size": 7}),
        ("run x --batch=7", PredictOptions, "--batch is now --batch-size", {"batch_size": 7}),
        ("run --to onnx", ExportOptions, "--to is now --format", {"format": "onnx"}),
    ],
)
def test_other_commands_take_them_and_say_so_once(
    argv: str,
    options: type[EvaluateOptions | PredictOptions | ExportOptions],
    told: str,
    now: dict[str, object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = parse_own(argv.split(), "", "", options)
    assert {name: getattr(found, name) for name in now} == now
    assert capsys.readouterr().err == f"note: {told}\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("no_plots", "maybe", "--plots must be bool, got 'maybe'"),
        ("no_cuda", 1, "--device must be str, got 1"),
        ("schedule", "steep", "--noise-schedule must be one of cosine, linear, own, got 'steep'"),
        ("checkpoint_dir", 3, "--run-dir must be str or left out, got 3"),
    ],
)
def test_bad_values_of_former_keys_are_refused(
    name: str, value: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({name: value}))
    assert main(["train", "--config", str(tmp_path / "run.yaml")]) == 2
    assert says in capsys.readouterr().err


def test_folders_of_runs_before_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run(tmp_path, finished=False, noise_schedule="linear", plots=False, device="cpu")
    old = config.to_dict()
    for name, value in {"schedule": "linear", "checkpoint_dir": None, "checkpoint": None}.items():
        old[name] = value
    for name in ("noise_schedule", "run_dir", "resume_from", "plots", "cuda_graphs"):
        del old[name]
    old |= {"lr_scheduler_patience": old.pop("lr_patience"), "no_plots": True}
    old |= {"device": "auto", "no_cuda": True, "no_cuda_graphs": False}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(old))
    assert read_config(Store(tmp_path)) == config
    check_same_options(config, old, "there")
    with pytest.raises(UserError, match="--noise-schedule linear there, cosine now"):
        check_same_options(TrainConfig(num_blocks=3, epochs=2), old, "there")
    assert main(["show", str(tmp_path)]) == 0
    again = "--noise-schedule linear --run-dir {} --no-plots --device cpu"
    assert set(again.format(tmp_path).split()) <= set(capsys.readouterr().out.split())


def test_a_run_keeps_its_hash_and_a_space_its_keys(tmp_path: Path) -> None:
    # What these options came to under their former names, and names many a run folder.
    assert TrainConfig(run_dir="x", plots=False, device="cpu").hash() == "44136f"
    assert TrainConfig(noise_schedule="linear", lr_patience=3).hash() == "71dcad"
    (tmp_path / "space.yaml").write_text("schedule: {choice: [cosine, linear]}\n")
    assert list(read_space(str(tmp_path / "space.yaml"), TrainConfig())) == ["noise_schedule"]
