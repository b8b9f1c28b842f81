"""What docs/python.md shows, run in order as one program on small runs."""

import re
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

SMALL = """TrainConfig(
    max_train_images=80, num_blocks=2, batch_size=32, epochs=2, quiet=True, plots=False,
    executor="local", device="cpu",
"""
# As shown, and as it is run here.
CHANGES = {
    'TrainConfig(dataset="digits", ': SMALL,
    "epochs=50": "epochs=3",
    "sweep(replace(cfg, ": 'sweep(replace(cfg, executor="ray", ',
    "samples=12": "samples=1",
    "replace(s.best_config, ": 'replace(s.best_config, executor="local", ',
}


def test_the_page_runs_as_it_stands(
    cluster: Cluster, repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (repo / "docs/python.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    for shown, run in CHANGES.items():
        assert code.count(shown) == 1, shown
        code = code.replace(shown, run)
    found: dict[str, object] = {}
    exec(code, found)
    names = {path.name for path in (tmp_path / "checkpoints_run").iterdir()}
    assert names == {"digits-25", "own", "watched", "tuned", "search", "best"}
    assert found["more"].epochs == 3  # type: ignore[attr-defined]
    assert found["best"].config["lr"] == found["s"].settings["lr"]  # type: ignore[attr-defined]
