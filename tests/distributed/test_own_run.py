"""The page's own block, data set and callback in one file, killed and gone on with; features.

And a block in a package.
"""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from noprop_dist import train
from runs import block_in_package, events, result_of, same, small, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(180)]

EXAMPLE = re.compile(r"```python\n# own_run.py\n(.*?)```", re.DOTALL)


def test_it_is_killed_and_ends_with_the_same_weights_on_ray_and_in_one_process(
    cluster: object,
    tmp_path: Path,
    repo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only the driver works in the folder where the file lies."""
    (example,) = EXAMPLE.findall((repo / "docs/extending.md").read_text())
    assert len([line for line in example.splitlines() if line.strip()]) < 30
    (tmp_path / "own_run.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    env = os.environ | {"PYTHONPATH": str(repo)}

    def killed(executor: str) -> None:
        command = [sys.executable, "own_run.py", executor, executor]
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as run:
            try:
                wait_until(lambda: len(events(Path(executor), "checkpoint")) >= 2)
            finally:
                run.kill()
        assert not Path(executor, "result.json").exists()

    def called(executor: str, folder: str) -> str:
        monkeypatch.setattr(sys, "argv", ["own_run.py", executor, folder])
        runpy.run_path("own_run.py", run_name="__main__")
        return capsys.readouterr().out

    assert "epoch 1 " in called("local", "unbroken")
    unbroken = result_of(Path("unbroken"))
    assert unbroken["test_accuracy"]["z_T"]["mean"] > 0.9
    for executor in ("local", "ray"):
        killed(executor)
        told = called(executor, executor)
        assert "epoch 40 " in told
        assert "epoch 1 " not in told
        (_, again) = events(Path(executor), "run_started")
        assert sum(again["steps"].values()) > 0
        assert result_of(Path(executor))["block_sha256"] == unbroken["block_sha256"]


def test_features_of_pictures_train_the_same_on_ray(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / "cache"))
    of = {"features": "torchvision:squeezenet1_1", "image_size": 32, "max_train_images": 200}
    ray = train(small(tmp_path / "ray", **of, executor="ray"))
    local = train(small(tmp_path / "local", **of))
    assert ray.block_sha256 == local.block_sha256


def test_a_block_in_a_package_finds_its_neighbours_on_workers_too(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the driver's path has the folder of the package."""
    own = block_in_package(tmp_path / "code")
    monkeypatch.syspath_prepend(tmp_path / "code")
    ray = train(small(tmp_path / "ray", epochs=1, executor="ray"), block=own)
    assert same(ray, train(small(tmp_path / "local", epochs=1), block=own))
