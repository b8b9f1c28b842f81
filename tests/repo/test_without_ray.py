"""The package imports, trains and predicts where Ray is not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

NO_RAY = """
import sys

class NoRay:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRay())
"""

IMPORT_ALL = """
import importlib, pkgutil
import noprop_dist

BENCHMARKS = ("chaos", "gpu", "memory", "scaling", "sleepers", "traffic")
ON_RAY = {
    "noprop_dist.distributed", "noprop_dist.tune.on_ray", "noprop_dist.compare.on_ray",
    "noprop_dist.use.on_ray",
}
ON_RAY |= {f"noprop_dist.benchmarks.{name}" for name in BENCHMARKS}

def names(package):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        if found.name not in ON_RAY:
            yield found.name
            if found.ispkg:
                yield from names(importlib.import_module(found.name))

for name in names(noprop_dist):
    importlib.import_module(name)
    print(name)
for name in noprop_dist.__all__:
    # A module of this name would take its place once it is imported.
    assert not isinstance(getattr(noprop_dist, name), type(sys)), name
"""

TRAIN_AND_PREDICT = """
import numpy
from noprop_dist import TrainConfig, load_network, train

result = train(TrainConfig(
    max_train_images=256, num_blocks=2, epochs=1, run_dir=sys.argv[1],
    quiet=True, plots=False, executor="local",
))
print(*load_network(result.folder).predict(numpy.zeros((3, 1, 8, 8), numpy.uint8)).labels)
"""


TRAIN_ON_RAY = """
from noprop_dist import TrainConfig, UserError, train

try:
    train(TrainConfig(run_dir=sys.argv[1]))
except UserError as error:
    print(error)
"""


COMPARE_ON_RAY = """
from noprop_dist import TrainConfig, UserError
from noprop_dist.compare.compare_options import CompareOptions
from noprop_dist.compare.run_comparison import compare

try:
    compare(TrainConfig(run_dir=sys.argv[1]), CompareOptions())
except UserError as error:
    print(error)
"""


FIRST_IMPORT = """
import importlib, os, pathlib, sys

RAY_READS = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
OURS = "noprop_dist"
root, missing = pathlib.Path(sys.argv[1]), []

class Notes:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            missing.extend(v for v in RAY_READS if v not in os.environ)

sys.meta_path.insert(0, Notes())
for file in sorted((root / "noprop_dist").rglob("*.py")):
    if "import ray" not in file.read_text() and "from ray" not in file.read_text():
        continue
    for name in [name for name in sys.modules if name.startswith(OURS)]:
        del sys.modules[name]
    for name in RAY_READS:
        os.environ.pop(name, None)
    name = ".".join(file.relative_to(root).with_suffix("").parts)
    missing.clear()
    try:
        importlib.import_module(name.removesuffix(".__init__"))
    except ModuleNotFoundError as error:
        assert error.name.startswith("ray"), error
    print(name, *missing)
"""


def run_without_ray(code: str, *args: str) -> str:
    """The output of the code in a Python of its own where ``import ray`` fails."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", NO_RAY + code, *args],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_of_ray_fails_in_these_tests() -> None:
    code = "try:\n    import ray\nexcept ModuleNotFoundError:\n    print('absent')\n"
    assert run_without_ray(code) == "absent\n"


def test_package_and_its_modules_import_without_ray() -> None:
    imported = run_without_ray(IMPORT_ALL).split()
    assert {"noprop_dist.maths.loss", "noprop_dist.engine.unit", "noprop_dist.cli"} <= set(imported)


def test_whatever_imports_ray_sets_before_what_a_private_cluster_needs(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its nodes would listen to other machines, and without a token."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repo), str(repo / "jobs")]))
    lines = run_without_ray(FIRST_IMPORT, str(repo)).splitlines()
    assert len(lines) > 10
    assert [line for line in lines if " " in line] == []


def test_training_and_prediction_work_without_ray(tmp_path: Path) -> None:
    labels = run_without_ray(TRAIN_AND_PREDICT, str(tmp_path / "run")).split()
    assert len(labels) == 3
    assert set(labels) <= set("0123456789")


def test_training_on_ray_says_that_it_is_missing(tmp_path: Path) -> None:
    said = run_without_ray(TRAIN_ON_RAY, str(tmp_path / "run"))
    assert said.startswith("Ray is not installed: ")
    assert "--executor local" in said


def test_comparing_says_that_ray_is_missing(tmp_path: Path) -> None:
    said = run_without_ray(COMPARE_ON_RAY, str(tmp_path / "run"))
    assert said.startswith("Ray is not installed, and a comparison trains on its workers: ")
