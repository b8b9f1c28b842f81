"""What small runs of every kind leave is what it has always been, bit for bit.

``hashes.json`` changes with a reason, which CHANGELOG.md tells:
``python tests/gate/gate.py tests/gate/hashes.json`` in the environment below.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# Instructions that every x86 machine has: other ones round otherwise.
PORTABLE = {"ATEN_CPU_CAPABILITY": "default", "DNNL_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
KNOWN: dict[str, Any] = json.loads((HERE / "hashes.json").read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("gate") / "found.json"
    # On a cluster that other tests have started, workers would compute with other instructions.
    own = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    subprocess.run(
        [sys.executable, str(HERE / "gate.py"), str(file)],
        env=own | PORTABLE, check=True, timeout=280, cwd=file.parent,
    )  # fmt: skip
    result: dict[str, Any] = json.loads(file.read_text())
    return result


@pytest.mark.ray
@pytest.mark.parametrize("name", KNOWN)
def test_a_run_leaves_what_it_has_always_left(found: dict[str, Any], name: str) -> None:
    assert found[name] == KNOWN[name]


@pytest.mark.ray
def test_every_run_is_known(found: dict[str, Any]) -> None:
    assert found.keys() == KNOWN.keys()
