"""What a comparison refuses, and where it lives."""

from pathlib import Path

import pytest

from noprop_dist import UserError
from noprop_dist.compare.compare_options import CompareOptions, parse_compare
from noprop_dist.compare.run_comparison import FORM


def test_options_of_the_run_and_of_the_comparison_come_from_one_line() -> None:
    config, options, as_json = parse_compare(
        ["--methods", "twin, noprop-sequential", "--seeds", "3", "--lr", "0.01", "--json"]
    )
    assert options.names == ["twin", "noprop-sequential"]
    assert (options.seeds, options.target_accuracy) == (3, None)
    assert config.lr == 0.01
    assert as_json


def test_a_yaml_file_sets_options_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("epochs: 7\nlr: 0.01\n")
    config, _, _ = parse_compare(["--config", str(tmp_path / "c.yaml"), "--lr", "0.02"])
    assert (config.epochs, config.lr) == (7, 0.02)


def test_a_comparison_has_a_folder_of_its_own() -> None:
    unnamed = parse_compare([])[0].placed({}, FORM)
    assert unnamed.folder.startswith("checkpoints_run/compare-digits-one-hot-")
    assert parse_compare(["--name", "mine"])[0].folder == "checkpoints_run/mine"
    assert parse_compare(["--run-dir", "here"])[0].folder == "here"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--methods noprop,twins", "'twins' is unknown; did you mean twin?"),
        ("--methods bp", "'bp' is unknown; known are noprop, twin, noprop-sequential, single, "),
        ("--methods twin,twin", "names a method twice"),
        ("--methods ,", "--methods needs at least one of noprop"),
        ("--seeds 0", "--seeds must be at least 1, got 0."),
        ("--target-accuracy 98", "--target-accuracy must be above 0 and at most 1, got 98.0"),
        ("--efficiency-epochs -1", "--efficiency-epochs must be at least 0"),
        ("--executor local", "--executor local cannot be compared"),
        ("--early-stopping-patience 3", "--early-stopping-patience does not mean the same"),
        ("--grad-clip 1", "--grad-clip does not mean the same"),
        ("--dry-run", "--dry-run does not mean the same"),
        ("--lr-schedule plateau", "give cosine or constant"),
        (
            "--methods noprop-sequential --readout radial",
            "--readout radial is not in Algorithm 1 as printed",
        ),
        ("--method twin", "did you mean --methods?"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(flags: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        parse_compare(flags.split())
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_methods_are_refused_in_python_too() -> None:
    with pytest.raises(UserError, match="did you mean noprop"):
        CompareOptions(methods="nopropp")
