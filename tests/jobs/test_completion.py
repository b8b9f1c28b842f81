"""Words that the shell completes: commands, options, values."""

import re
import subprocess
from pathlib import Path

import pytest

from noprop_dist.cli import COMMANDS, main
from noprop_dist.completion import CLASSES

TRY = """
source {script}
COMP_WORDS=({words}) COMP_CWORD={last} COMPREPLY=()
_noprop
echo "${{COMPREPLY[*]}}"
"""


def printed(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["tra"], "train trace"),
        (["benchmark", ""], "decode engine gpu predict scaling sharing"),
        (["benchmark", "gpu", "--ba"], "--batch-size"),
        (["train", "--no-pl"], "--no-plots"),
        (["train", "--embedding-type", "l"], "learned"),
        (["train", "--checkpoint-d"], ""),
        (["predict", "run", "--format", ""], "table jsonl parquet"),
        (["tune", "--per"], "--per-block"),
        (["completion", "z"], "zsh"),
    ],
)
def test_bash_completes(
    typed: list[str], completed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "noprop.bash"
    script.write_text(printed("bash", capsys))
    words = " ".join(f"'{word}'" for word in ["noprop", *typed])
    tried = TRY.format(script=script, words=words, last=len(typed))
    done = subprocess.run(["bash", "-c", tried], capture_output=True, text=True, timeout=20)
    assert (done.stdout.strip(), done.stderr) == (completed, "")


def test_every_shell_knows_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert CLASSES.keys() == COMMANDS.keys()
    scripts = {shell: printed(shell, capsys) for shell in ("bash", "zsh", "fish")}
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([*command.split(), "--help"])
        for name in re.findall(r"^  --([\w-]+)", capsys.readouterr().out, re.MULTILINE):
            for shell, script in scripts.items():
                spelt = {"fish": "-l "}.get(shell, "--")
                assert re.search(f"{spelt}{name}\\b", script), f"{shell}: {command} --{name}"


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "csh"]) == 2
    said = capsys.readouterr().err
    assert "invalid choice: 'csh'" in said
    assert said.count("\n") == 1
