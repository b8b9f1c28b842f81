"""Options to begin with, by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noprop_dist import TrainConfig, UserError
from noprop_dist.config.presets import PRESETS
from noprop_dist.options import Around, parse_command


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_options_that_files_and_flags_change(name: str, tmp_path: Path) -> None:
    config = parse_command(["--preset", name]).config
    assert config == TrainConfig(**PRESETS[name])
    file = tmp_path / "c.yaml"
    file.write_text("epochs: 3\nlr: 0.5\n")
    changed = parse_command([f"--preset={name}", "--config", str(file), "--lr", "0.25"]).config
    assert changed == replace(config, epochs=3, lr=0.25)
    assert name in str(Around.__dataclass_fields__["preset"].type)


def test_a_preset_that_there_is_not_gets_one_sentence() -> None:
    with pytest.raises(UserError, match=r"invalid choice: 'slow' \(choose from 'paper-mnist'"):
        parse_command(["--preset", "slow"])


def test_an_array_is_refused_without_being_printed_whole() -> None:
    with pytest.raises(UserError, match="--dataset must be str, got array") as refused:
        TrainConfig(dataset=np.zeros((1000, 8, 8)))  # type: ignore[arg-type]
    assert len(str(refused.value)) < 200
