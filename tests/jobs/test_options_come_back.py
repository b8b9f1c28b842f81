"""What is written of options is read back as it was, and text is never taken for anything else."""

from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from noprop_dist import TrainConfig, UserError
from noprop_dist.cli import main
from noprop_dist.config.model_options import BLOCK_CHOICES
from noprop_dist.options import parse_command, parse_own
from noprop_dist.record.run_config import read_config
from noprop_dist.record.store import Store
from noprop_dist.see.commands import VisualizeOptions
from noprop_dist.tune.space import read_space

# What YAML or the parser could take for a number, a switch, a date, nothing, or a mark of its own
ODD = [
    "2024-13-45", "1e5", "1E5", "0x10", "0b1", "0o7", "010", "1_000", "1:30", ".5", "1.", "+1",
    ".inf", "nan", "yes", "No", "on", "True", "null", "Null", "None", "none", "~", "2024-01-01",
    "0x_", ": a", "a: b", "#x", "a #x", "- a", "? a", "[a]", "{a}", "&a", "*a", "!a", "%a", "@a",
    "`a", "|", ">", "'", '"', "\\", "=", "<<", "---", "...", " a ", "a\nb", "\t", "\x00",
    "\x1b[31m", "\x85", "\u2028", "\ufeff", "\ufffe", "\U0001f600", "caf\udce9", "\ud800", "e",
    "a" * 190, "word " * 30, "$HOME", "{{a}}", "%s", "--lr",
]  # fmt: skip
SURROGATES_TOO = st.characters(exclude_categories=())


def texts(least: int = 1) -> st.SearchStrategy[str]:
    return st.sampled_from(ODD) | st.text(SURROGATES_TOO, min_size=least, max_size=40)


def accepted(**options: Any) -> bool:
    try:
        TrainConfig(**options)
    except UserError:
        return False
    return True


NAMES = (texts() | texts().map("a".__add__)).filter(lambda name: accepted(name=name))
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "name": st.none() | NAMES,
    "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:3"]),
    "resources": st.none() | st.sampled_from(["a=1", "1e5=1e5", "on=2,off=0.5", "\udce9=1"]),
    "alpha_bar_min": st.floats(1e-300, 0.4),
    "alpha_bar_max": st.floats(0.5, 0.9999),
    "ema_decay": st.none() | st.floats(1e-300, 0.9999),
    "val_fraction": st.floats(1e-300, 0.9999),
    "dropout": st.floats(0, 0.9999),
    "epochs": st.integers(100, 10**9),
    "blocks": st.none(),  # others mean something beside --num-blocks only
    "block": st.sampled_from(list(BLOCK_CHOICES)) | st.just("of.mine:Block"),
    "split_depth": st.none(),
    "features": st.none(),
    "features_weights": st.none(),
    "block_options": st.none() | st.sampled_from(["depth=1", "a=true,b=0.5,c=word"]),
    "objective": st.just("dt"),
    "overlap": st.just(0.0),
    "steps_per_block": st.just(1),
    "momentum": st.none() | st.floats(0, 0.9999),
    "optimizer": st.just("muon"),
    "warmup_epochs": st.floats(0, 100) | st.integers(0, 100),
    "image_size": st.none() | st.integers(4, 4096),
    "randaugment": st.none() | st.integers(1, 8),
    "randaugment_magnitude": st.none() | st.integers(0, 30),
    "random_erasing": st.none() | st.floats(0, 1),
    "mixup": st.floats(0, 100) | st.integers(0, 100),
    "cutmix": st.floats(0, 100) | st.integers(0, 100),
    "label_smoothing": st.floats(0, 0.9999),
}
# Options that mean something beside others only
OF_OTHERS = {
    "device", "gpus_per_worker", "freeze_after", "randaugment_magnitude", "overlap", "solver",
    "steps_per_block", "nesterov", "lr_min", "objective",
}  # fmt: skip
MANY = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.filter_too_much])
ABOVE_ZERO = st.floats(5e-324, 1e300)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of an option that has no rule of its own."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    kinds = get_args(hint) or (hint,)
    made = {
        NoneType: st.none(),
        bool: st.booleans(),
        int: st.integers(2, 2**70),
        float: ABOVE_ZERO | st.integers(1, 10**6),
        str: texts(),
    }
    return st.one_of(*(made[kind] for kind in kinds))


@st.composite
def configs(draw: st.DrawFn) -> TrainConfig:
    """Options of all kinds, each of them anything that it may be."""
    hints = get_type_hints(TrainConfig)
    drawn = {
        f.name: draw(SPECIAL.get(f.name, values_of(hints[f.name]))) for f in fields(TrainConfig)
    }
    for name in draw(st.sets(st.sampled_from(sorted(OF_OTHERS)))):
        drawn[name] = TrainConfig.__dataclass_fields__[name].default
    assume(accepted(**drawn))
    return TrainConfig(**drawn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


@settings(MANY, max_examples=150)
@given(config=configs())
def test_options_of_a_run_folder_are_those_it_was_begun_with(
    config: TrainConfig, folder: Path
) -> None:
    (folder / "config.yaml").write_text(config.to_yaml())
    assert read_config(Store(folder)) == config


@settings(MANY, max_examples=25)  # the parser takes a while
@given(config=configs())
def test_a_run_s_own_options_are_a_config_file(config: TrainConfig, folder: Path) -> None:
    (folder / "config.yaml").write_text(config.to_yaml())
    code = [f"--block={config.block}"] if ":" in config.block else []
    assert parse_command(["--config", str(folder / "config.yaml"), *code]).config == config


@pytest.mark.parametrize("text", ["None", "1e5", "True", "~", "{}", "a\nb", "\x00", "\udce9"])
def test_flag_s_text_stays_text(text: str) -> None:
    asked = parse_command([f"--resume-from={text}", f"--data-dir={text}", f"--dataset={text}"])
    assert {asked.config.resume_from, asked.config.data_dir, asked.config.dataset} == {text}
    if text.isalnum():
        assert parse_command([f"--name={text}"]).config.name == text


def test_a_folder_may_be_called_none() -> None:
    asked = parse_own(["None", "--output", "None"], "noprop visualize", "", VisualizeOptions)
    assert (asked.run, asked.output) == ("None", "None")


@pytest.mark.parametrize(
    "line", ["name: 2024", "name: yes", "name: 2024-01-01", "name: 0x10", "dataset: null",
             "data-dir: 1.5", "resources: 12:30:00"],
)  # fmt: skip
def test_text_that_yaml_takes_for_something_else_is_to_be_put_into_quotes(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(line)
    assert main(["train", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert f"--{line.partition(':')[0]} must be str" in err
    assert err.endswith(": put quotes around it.\n")
    assert err.count("\n") == 1
    file.write_text(line.replace(": ", ': "') + '"')
    if not line.startswith("resources"):
        name, _, text = line.partition(": ")
        asked = parse_command(["--config", str(file)]).config
        assert getattr(asked, name.replace("-", "_")) == text


@pytest.mark.parametrize("text", ["name: 2024-13-45", "lr: 0x_", "[" * 5000])
def test_yaml_of_no_use_gets_one_sentence(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    for args in (["train", "--config", str(file)], ["tune", "--space", str(file)]):
        assert main(args) == 2
        err = capsys.readouterr().err
        assert "is not valid YAML" in err
        assert err.count("\n") == 1
    with pytest.raises(UserError, match="is not valid YAML"):
        read_config(Store(tmp_path))


def test_numbers_without_a_point_are_numbers_where_the_option_is_one(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("lr: 1e-3\nweight_decay: '1e-4'\nname: 1e5\nwarmup_epochs: 2\nepochs: 9\n")
    config = parse_command(["--config", str(file)]).config
    assert (config.lr, config.weight_decay, config.name) == (1e-3, 1e-4, "1e5")
    file.write_text("lr: {choice: [1e-3, 1, '2e-3']}\nnum_blocks: {choice: [3, 4]}\n")
    space = read_space(str(file), TrainConfig())
    assert space["lr"].values == (1e-3, 1.0, 2e-3)
    assert {type(value) for value in space["lr"].values} == {float}
    assert space["num_blocks"].to_dict() == {"choice": [3, 4]}
