"""constraints.txt pins everything that pyproject.toml asks for, and pins it within its bounds."""

import re
import tomllib
from itertools import chain
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(r"[a-z0-9-]+==[0-9a-z.]+( ; .+)?")


def pins(repo: Path, python: str) -> dict[str, str]:
    """The exact version of each package on Linux with this Python."""
    here = {**default_environment(), "sys_platform": "linux", "python_full_version": python}
    lines = (repo / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines]
    kept = [pin for pin in found if pin.marker is None or pin.marker.evaluate(here)]
    assert len({pin.name for pin in kept}) == len(kept)
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in kept}


def test_constraints_hold_nothing_but_exact_versions(repo: Path) -> None:
    lines = (repo / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_ray_is_bounded_from_below_alone(repo: Path) -> None:
    """A cluster's Ray is what it is: what bounds ours from above keeps the package out of there."""
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    extras = chain.from_iterable(project["optional-dependencies"].values())
    asked = map(Requirement, chain(project["dependencies"], extras))
    of_ray = [requirement for requirement in asked if requirement.name == "ray"]
    assert of_ray
    for requirement in of_ray:
        assert {bound.operator for bound in requirement.specifier} == {">="}


def test_constraints_pin_every_requirement_within_its_bounds(repo: Path) -> None:
    settings = tomllib.loads((repo / "pyproject.toml").read_text())
    project = settings["project"]
    asked = [
        *settings["build-system"]["requires"],
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
    ]
    for python in ("3.11.0", "3.12.0", "3.13.0"):
        versions = pins(repo, python)
        for requirement in map(Requirement, asked):
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)])
