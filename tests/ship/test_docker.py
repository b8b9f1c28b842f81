"""The image and the compose files: valid, small, without secrets, and closed."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from noprop_dist.options import parse_command
from ship.dockerfile import Step, stages, steps
from ship.files import documents, pinned, schema_check, tool, values

SECRET = re.compile(r"token|password|secret|credential|api_?key", re.IGNORECASE)
FILES = ("docker/compose.yaml", "docker/compose.gpu.yaml")


@pytest.fixture(scope="module")
def dockerfile(pytestconfig: pytest.Config) -> str:
    return (pytestconfig.rootpath / "docker/Dockerfile").read_text()


@pytest.fixture(scope="module")
def compose(pytestconfig: pytest.Config) -> dict[str, Any]:
    (found,) = documents(pytestconfig.rootpath / FILES[0])
    return found


def faults(text: str) -> list[str]:
    """What the rules of this project find in a Dockerfile; hadolint knows others."""
    all_steps = steps(text)
    last = stages(all_steps)[-1]
    found = [f"{image} is not pinned" for image in images(all_steps) if not is_pinned(image)]
    found += ["one stage"] * (len(stages(all_steps)) < 2)
    users = [step.rest.split(":")[0] for step in last if step.name == "USER"]
    found += ["root"] * (not users or users[-1] in ("root", "0"))
    found += ["no health check"] * (not any(step.name == "HEALTHCHECK" for step in last))
    found += ["ADD" for step in all_steps if step.name == "ADD"]
    for step in all_steps:
        if step.name in ("ARG", "ENV"):
            pairs = [word.partition("=") for word in shlex.split(step.rest)]
            found += [
                f"{name} has a value" for name, _, value in pairs if SECRET.search(name) and value
            ]
    return found


def images(all_steps: list[Step]) -> list[str]:
    """What the stages are built on."""
    froms = [step.rest.split() for step in all_steps if step.name == "FROM"]
    stage_names = {words[-1] for words in froms if len(words) > 1}
    defaults = dict(step.rest.split("=", 1) for step in all_steps[:1] if step.name == "ARG")
    named = [defaults.get(words[0].strip("${}"), words[0]) for words in froms]
    return [image for image in named if image not in stage_names]


def is_pinned(image: str) -> bool:
    """Whether it names a version."""
    return ":" in image and not image.endswith(":latest")


def test_hadolint_finds_nothing(repo: Path) -> None:
    command = [tool("hadolint"), "--no-color", str(repo / "docker/Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_own_rules_find_nothing(dockerfile: str) -> None:
    assert faults(dockerfile) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ARG BASE=python:3.11-slim-bookworm", "ARG BASE=python", "python is not pinned"),
        ("3.11-slim-bookworm", "latest", "python:latest is not pinned"),
        ("USER 1000:1000", "USER root", "root"),
        ("COPY jobs", "ADD jobs", "ADD"),
        ("ARG TORCH_INDEX", "ARG API_KEY=abc\nARG TORCH_INDEX", "API_KEY has a value"),
        ("HEALTHCHECK", "LABEL", "no health check"),
    ],
)
def test_own_rules_see_what_is_wrong(dockerfile: str, old: str, new: str, expected: str) -> None:
    assert expected in faults(dockerfile.replace(old, new, 1))


def test_steps_are_read_as_docker_reads_them() -> None:
    text = "# c\nFROM a AS b\nRUN one && \\\n    # not this\n    two\n\nFROM c\nUSER 1\n"
    found = steps(text)
    assert found == [
        Step("FROM", "a AS b"),
        Step("RUN", "one && two"),
        Step("FROM", "c"),
        Step("USER", "1"),
    ]
    assert [len(stage) for stage in stages(found)] == [2, 2]


def test_everything_is_installed_from_the_pinned_versions(dockerfile: str) -> None:
    for step in steps(dockerfile):
        if step.name == "RUN":
            for command in re.split(r"&&|;", step.rest):
                if "pip install" in command and "/wheels/" not in command:
                    assert "--constraint constraints.txt" in command


def test_the_context_holds_what_is_copied_and_little_else(repo: Path, dockerfile: str) -> None:
    lines = [line for line in (repo / ".dockerignore").read_text().splitlines() if line]
    assert "*" in lines
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for step in steps(dockerfile):
        if step.name == "COPY" and not step.rest.startswith("--from="):
            copied |= set(step.rest.split()[:-1])
    assert copied == allowed
    assert all((repo / name).exists() for name in copied)


def test_compose_files_meet_the_compose_specification(repo: Path, tmp_path: Path) -> None:
    done = schema_check("compose-spec", *(repo / name for name in FILES))
    assert done.returncode == 0, done.stdout
    (tmp_path / "c.yaml").write_text("services: {a: {image: b, port: [1]}}\n")
    assert schema_check("compose-spec", tmp_path / "c.yaml").returncode == 1


def test_ports_are_published_on_loopback_alone(repo: Path) -> None:
    published = [p for name in FILES for p in values(documents(repo / name), "ports")]
    assert published == [["127.0.0.1:${DASHBOARD_PORT:-8265}:8265"]]
    assert not any(values(documents(repo / FILES[0]), "network_mode"))


def test_services_are_limited_watched_and_without_rights(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {"head", "worker", "job"}
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not service.get("privileged")
        assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
        assert service["shm_size"] == "1gb"
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["secrets"] == ["ray_token"]
        waits = {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        assert set(waits.values()) <= {"service_healthy"}
        assert ("head" in waits) == (name != "head")
    assert compose["services"]["worker"]["deploy"]["replicas"] == 2
    assert compose["services"]["job"]["profiles"] == ["job"]


def test_the_object_store_fits_into_the_shared_memory(compose: dict[str, Any]) -> None:
    for name in ("head", "worker"):
        (store,) = [
            int(word.partition("=")[2])
            for word in compose["services"][name]["command"]
            if word.startswith("--object-store-memory=")
        ]
        assert store < 2**30


def test_the_token_is_a_file_from_outside(compose: dict[str, Any], repo: Path) -> None:
    assert compose["secrets"]["ray_token"]["file"].startswith("${RAY_TOKEN_FILE:?")
    for name in FILES:
        text = (repo / name).read_text()
        assert not re.search(r"RAY_AUTH_TOKEN\b(?!_PATH)", text)


def test_the_job_of_compose_is_one_that_the_project_accepts(compose: dict[str, Any]) -> None:
    words = compose["services"]["job"]["command"]
    script, *argv = words[words.index("python") + 1 :]
    assert script == "jobs/train.py"
    parse_command(argv)


@pytest.mark.slow
def test_the_pip_lines_resolve_in_a_fresh_environment(
    repo: Path, dockerfile: str, tmp_path: Path
) -> None:
    # All but putting in 3 GB: versions are resolved, and the wheel of the project is built.
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(repo / name, tmp_path)
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(repo / "noprop_dist", tmp_path / "noprop_dist", ignore=unwanted)
    runs = [step.rest for step in stages(steps(dockerfile))[0] if step.name == "RUN"]
    script = "\n".join(run for run in runs if "apt-get" not in run)
    script = script.replace("/wheels", "wheels").replace("/opt/", "opt/")
    script = script.replace(
        "opt/noprop/bin/pip install --", "opt/noprop/bin/pip install --dry-run --"
    )
    script = script.replace("--dry-run --no-deps wheels", "--no-deps wheels")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TORCH_INDEX": ""},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "opt/noprop/bin/noprop").exists()
    would = " ".join(re.findall(r"Would install (.*)", done.stdout)).split()
    for name in ("ray", "torch", "torchvision", "optuna"):
        assert f"{name}-{pinned(repo, name)}" in [found.partition("+")[0] for found in would]
