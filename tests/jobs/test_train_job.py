import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import noprop_dist
from noprop_dist import TrainConfig, UserError
from noprop_dist.cli import COMMANDS, main
from noprop_dist.compare.compare_options import parse_compare
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.model.objective import Learned
from noprop_dist.options import parse_command, parse_own
from noprop_dist.use.flags import PredictOptions

SMALL = ["--max-train-images", "200", "--num-blocks", "2", "--epochs", "1", "--batch-size", "32"]
SMALL += ["--no-plots", "--executor", "local"]
OPTIONS = (
    "--embedding-type learned --embedding-dim 64 --num-blocks 10 --batch-size 128 --epochs 150 "
    "--lr 0.001 --weight-decay 0.0001"
)


def parse_train(argv: list[str]) -> TrainConfig:
    return parse_command(argv).config


def test_long_line_of_options_means_what_it_says() -> None:
    config = parse_train(OPTIONS.split())
    assert (config.embedding_type, config.embedding_dim, config.num_blocks) == ("learned", 64, 10)
    assert (config.batch_size, config.epochs, config.lr) == (128, 150, 0.001)
    assert config.weight_decay == 0.0001


def test_flags_lie_over_the_yaml_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("lr: 0.01\nnum-blocks: 4\nweight_decay: 1e-4\nwarmup_epochs: 30\n")
    config = parse_train(["--config", str(file), "--lr", "0.002", "--epochs", "100"])
    assert (config.lr, config.num_blocks) == (0.002, 4)
    assert (config.weight_decay, config.warmup_epochs) == (1e-4, 30.0)


def test_rehearsal_trains_little_for_one_epoch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--epochs", "30", "--warmup-epochs", "2", "--seed", "3"]
    monkeypatch.setenv("NOPROP_REHEARSE", "200")
    config = parse_command(command).config
    assert (config.epochs, config.max_train_images, config.warmup_epochs) == (1, 200, 1)
    assert config.seed == 3
    assert (
        capsys.readouterr().err
        == "rehearsal: one epoch on at most 200 training images, no pictures\n"
    )
    assert parse_command([*command, "--max-train-images", "50"]).config.max_train_images == 50
    _, options, _ = parse_compare(["--seeds", "5"])
    assert (options.seeds, options.efficiency_epochs) == (1, 0)
    monkeypatch.setenv("NOPROP_REHEARSE", "0.5")
    with pytest.raises(UserError, match=r"NOPROP_REHEARSE=0\.5 is no rehearsal"):
        parse_command(command)
    monkeypatch.delenv("NOPROP_REHEARSE")
    assert parse_command(command).config.epochs == 30


def test_one_run_has_one_folder_however_its_numbers_are_written(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("weight_decay: 0\n")
    folders = {
        parse_train(args).placed({}).folder
        for args in (["--config", str(tmp_path / "c.yaml")], ["--weight-decay", "0.0"])
    }
    assert len(folders) == 1


def test_written_config_reads_back(tmp_path: Path) -> None:
    config = parse_train([*SMALL, "--freeze-after", "2", "--embedding-type", "learned"])
    (tmp_path / "c.yaml").write_text(config.to_yaml())
    assert parse_train(["--config", str(tmp_path / "c.yaml")]) == config


def test_job_trains_and_prints_json_last(repo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    job = [sys.executable, str(repo / "jobs/train.py")]
    args = [*SMALL, "--run-dir", str(folder), "--json"]
    done = subprocess.run(
        [*job, *args], capture_output=True, text=True, timeout=240, check=True, cwd=tmp_path
    )
    result = json.loads(done.stdout.splitlines()[-1])
    written = json.loads((folder / "result.json").read_text())
    assert result == written | {"folder": str(folder)}
    assert set(result["block_sha256"]) == {"1", "2"}
    assert "epoch 1/1" in done.stderr
    assert "evaluating 359 test images" in done.stderr.splitlines()


def test_summary_names_the_numbers_and_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *SMALL, "--quiet", "--run-dir", str(tmp_path)]) == 0
    out = capsys.readouterr()
    first, *told = out.out.splitlines()
    assert "5 noise draws" in first
    readouts = [line.split("  ")[1] for line in told[:5]]
    assert readouts == ["z_T", "mean softmax", "last block", "weighted blocks", "best block"]
    assert re.search(r"^trained 1 epoch in \d+ s; \d+ s in all$", out.out, re.MULTILINE)
    assert str(tmp_path) in told[-1]
    assert out.err == ""


@pytest.mark.usefixtures("short_tries")
def test_dry_run_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "--dry-run", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["steps"] == 2 * (report["training_images"] // 32)
    assert report["estimated_seconds"] > report["evaluation_seconds"] > 0
    assert main(["train", *SMALL, "--dry-run"]) == 0
    out = capsys.readouterr().out
    told = dict(re.split("  +", line, maxsplit=1) for line in out.splitlines())
    assert (told["steps"], told["sample shape"]) == (str(report["steps"]), "1x8x8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--dataset nothing", "--dataset nothing is unknown"),
        ("--dataset ./missing", "no such file or folder"),
        ("--embedding-dim 0", "--embedding-dim must be at least 1"),
        ("--embedding-type prototype --embedding-dim 60", "needs the image size, 64"),
        ("--embedding-dim 9", "needs the number of classes, 10"),
        ("--batch-size 5000", "--batch-size 5000 is larger than the training set"),
        ("--batch-size 1", "--batch-size must be at least 2"),
        ("--num-blocks 0", "--num-blocks must be at least 1"),
        ("--image-size 1000000", "--image-size must be at least 4 and at most 4096"),
        ("--name a/b", "--name must be one folder's name"),
        ("--run-dir=", "--run-dir must not be empty"),
        ("--run-dir /dev/null/run", "give another --run-dir"),
        (
            "--executor local --cpus-per-worker 9999",
            "--cpus-per-worker 9999 is more than this machine's",
        ),
        ("--max-train-images 1 --val-fraction 0.9 --batch-size 64", "larger than the training set"),
        ("--val-fraction 0.999", "--batch-size 128 is larger than the training set of 10"),
        ("--eta 0", "--eta must be above 0, got 0.0"),
        ("--history /dev/null/h.json", "give another --history"),
        ("--lr inf", "--lr must be a finite number, got inf"),
        ("--lr -1", "--lr must be above 0, got -1.0"),
        ("--weight-decay nan", "--weight-decay must be"),
        ("--no-cuda --device cuda", "--no-cuda contradicts --device cuda"),
        ("--device tpu", "--device tpu is unknown"),
        ("--freeze-after 3", "--freeze-after has no meaning"),
        (
            "--overlap 0.1",
            "--overlap has no meaning with --objective dt: leave it out, or give --objective ct, "
            "fm or ranges.",
        ),
        (
            "--objective fm --noise-schedule linear",
            "--noise-schedule has no meaning with --objective fm",
        ),
        ("--objective ct --overlap 2", "--overlap must be at least 0"),
        (
            "--val-fraction 0 --early-stopping-patience 3",
            "needs validation images",
        ),
        ("--val-fraction 1", "--val-fraction must be"),
        ("--dropout 1", "--dropout must be at least 0 and below 1, got 1.0"),
        ("--warmup-epochs 40", "--warmup-epochs 40.0 is longer"),
        ("--block mlp", "--block mlp cannot take images"),
        ("--resume-from nowhere", "--resume-from nowhere holds no checkpoint"),
        ("--config nowhere.yaml", "--config nowhere.yaml cannot be read"),
        ("--alpha-bar-min 0.99", "--alpha-bar-min 0.99 must be below --alpha-bar-max 0.99"),
        ("--alpha-bar-max 1", "--alpha-bar-max must be above 0 and below 1"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(
    args: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *args.split()]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [("lrr: 1", "run.yaml: the field 'lrr' is unknown; did you mean lr?"),
     ("lr: fast", "--lr must be float"),
     ("- 1", "must hold lines"),
     ("a: [", "not valid YAML"), ("lr: 1\nlr: 2", "lr stands there twice"),
     ("epochs: 1.5", "--epochs must be int"),
     ("readout: tree", "--readout must be one of")],
)  # fmt: skip
def test_bad_yaml_is_explained(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    assert main(["train", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--lrr 1", "Unrecognized options: --lrr, 1; did you mean --lr?"),
        ("--lr abc", "--lr: invalid float value: 'abc'"),
        ("--image-size 8.5", "--image-size: must be int or auto, got '8.5'"),
        ("--executor boat", "--executor: invalid choice: 'boat'"),
        ("--lr", "--lr: expected one argument"),
    ],
)
def test_flag_that_does_not_parse_gets_one_sentence(
    args: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *args.split()]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert "noprop train --help lists the options" in err


def test_flags_are_taken_in_any_order_and_spelling() -> None:
    argv = ["run", "--draws", "2", "a.png", "--top_k=4", "b_c.png"]
    options = parse_own(argv, "noprop predict", "", PredictOptions)
    assert (options.run, options.images) == ("run", ("a.png", "b_c.png"))
    assert (options.draws, options.top_k) == (2, 4)
    config = parse_command(["--name=a_b", "--no-plots", "--max-train-images", "7"]).config
    assert (config.name, config.plots, config.max_train_images) == ("a_b", False, 7)
    assert parse_command(["--name", "None", "--lr", "1e-3"]).config.name == "None"
    for refused in (["--no-plots=yes"], ["--no-no-plots"], ["--epoch", "3"], ["stray"]):
        with pytest.raises(UserError, match="--help lists the options"):
            parse_command(refused)


def test_help_shows_groups_and_defaults_without_torch(repo: Path) -> None:
    code = (
        "import sys; from noprop_dist.cli import main\n"
        "for command in ('train', 'predict'):\n"
        "    try: main([command, '--help'])\n"
        "    except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=repo
    )
    assert done.returncode == 0, done.stderr
    train, predict = (" ".join(told.split()) for told in done.stdout.split("usage: noprop ")[1:])
    assert "optimisation options" in train
    assert "default: 0.001" in train
    assert "seed of every random number (default: 0)" in train
    assert "(default: )" not in train + predict
    assert "file to write; default: standard output" in predict
    ours = re.compile(r"\b(snapshots?|bits?|units?)\b", re.IGNORECASE)  # words of the code alone
    assert not ours.findall(train + predict)


@pytest.mark.parametrize(("args", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_commands_are_listed(
    args: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == code
    told = "".join(capsys.readouterr())
    for name, (_, text, _) in COMMANDS.items():
        assert re.search(f"^  {name} +{re.escape(text)}$", told, re.MULTILINE)


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"noprop-dist {noprop_dist.__version__}\n"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("shwo", "unknown command shwo; did you mean show?"),
        ("zzz", "unknown command zzz; "),
        ("benchmark gpuu", "unknown command benchmark gpuu; did"),
    ],
)
def test_unknown_command_is_named(
    command: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "X"]) == 2
    out = capsys.readouterr()
    assert out.err.startswith(f"error: {says}")
    assert out.err.endswith("--help lists the commands.\n")
    assert out.err.count("\n") == 1
    assert out.out == ""


@pytest.mark.parametrize("text", ["{}", "null", "[", '{"test_accuracy": 5}'])
def test_broken_result_says_how_to_mend_it(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(text)
    assert main(["train", *SMALL, "--run-dir", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert "result.json is not what a run writes" in err
    assert "delete it" in err
    assert err.count("\n") == 1


def test_skipped_images_are_counted_for_the_user(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    (tmp_path / "set/ant/7.png").write_bytes(b"no image")
    args = ["--dataset", str(tmp_path / "set"), "--skip-bad-images", "--quiet", "--json"]
    small = ["--num-blocks", "2", "--epochs", "1", "--batch-size", "16", "--no-plots"]
    small += ["--executor", "local"]
    folder = ["--run-dir", str(tmp_path / "run")]
    assert main(["train", *args, *small, *folder]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["num_skipped"] == 1
    assert "left out 1 bad image of" in err


def test_block_that_fails_is_named_and_the_exit_code_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = LiveBlock.forward

    def broken(self: LiveBlock, x: Tensor, y: Tensor) -> Learned:
        loss, logits = forward(self, x, y)
        return Learned(loss * (torch.nan if self.t == 2 else 1), logits)

    monkeypatch.setattr(LiveBlock, "forward", broken)
    assert main(["train", *SMALL, "--run-dir", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert "results in" in out
    assert "1 of 2 blocks failed (block 2: its loss became NaN" in err.splitlines()[-1]


def test_interrupt_outside_training_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("noprop_dist.engine.splits.find_rows", interrupted)
    for more, said in ((["--dry-run"], "leaves nothing"), ([], "goes on from the last checkpoint")):
        assert main(["train", *SMALL, "--run-dir", str(tmp_path), *more]) == 130
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
