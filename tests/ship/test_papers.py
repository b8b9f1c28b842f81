"""Licence, citation, changelog and pages agree with the project and with each other."""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from ray.scripts.scripts import cli as ray_cli

from noprop_dist.record.history import History
from noprop_dist.record.result import TrainResult
from ship.dockerfile import Step, steps
from ship.files import IMAGE, documents, pinned, schema_check, values, version

FENCE = re.compile(r"^ *```sh\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PLACE = re.compile(r"\b(?:docker|cluster|docs|jobs|tests)/[\w./-]*[\w-]")


def pages(repo: Path) -> list[Path]:
    return [*repo.glob("*.md"), *(repo / "docs").glob("*.md")]


def shipped(repo: Path) -> list[Path]:
    found = [p for folder in ("docker", "cluster") for p in (repo / folder).rglob("*")]
    return [path for path in found if path.is_file() and path.name != "hosts"]


def test_the_licence_is_mit_everywhere(repo: Path) -> None:
    assert (repo / "LICENSE").read_text().startswith("MIT License\n\nCopyright (c) ")
    project = tomllib.loads((repo / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT"
    assert yaml.safe_load((repo / "CITATION.cff").read_text())["license"] == "MIT"
    assert 'licenses="MIT"' in (repo / "docker/Dockerfile").read_text()


def test_the_citation_is_valid_and_names_the_paper(repo: Path) -> None:
    done = schema_check("citation-file-format", repo / "CITATION.cff")
    assert done.returncode == 0, done.stdout
    cited = yaml.safe_load((repo / "CITATION.cff").read_text())
    assert cited["version"] == version(repo)
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Li", "Teh", "Pascanu"]
    assert "2503.24322" in json.dumps(paper)


def test_the_changelog_knows_the_version(repo: Path) -> None:
    text = (repo / "CHANGELOG.md").read_text()
    number = re.escape(version(repo))
    assert re.search(rf"^## \[{number}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE) or re.search(
        rf"^## \[Unreleased\]\n\nWill be {number}", text, re.MULTILINE
    )


def test_image_tags_are_the_version(repo: Path) -> None:
    tag = f"{IMAGE}:{version(repo)}"
    named = set()
    for path in [*shipped(repo), *pages(repo)]:
        named |= set(re.findall(rf"{IMAGE}:[\w.]+", path.read_text()))
    assert named == {tag}
    for path in shipped(repo):
        if path.suffix == ".yaml" and path.name != "kustomization.yaml":
            assert set(values(documents(path), "image")) <= {tag}
    (images,) = values(documents(repo / "cluster/kuberay/kustomization.yaml"), "images")
    assert [(image["name"], image["newTag"]) for image in images] == [(IMAGE, version(repo))]
    labels = (repo / "docker/Dockerfile").read_text()
    assert f'image.version="{version(repo)}"' in labels


def test_the_version_of_ray_is_the_pinned_one(repo: Path) -> None:
    ray = pinned(repo, "ray")
    assert Step("ARG", f"RAY_VERSION={ray}") in steps((repo / "docker/Dockerfile").read_text())
    for path in (repo / "cluster/kuberay").glob("ray*.yaml"):
        assert set(values(documents(path), "rayVersion")) == {ray}
    for cloud in ("aws", "gcp"):
        assert f"Ray {ray}" in (repo / f"cluster/{cloud}.yaml").read_text()


def test_no_file_holds_a_secret(repo: Path) -> None:
    # A long run of letters and digits is a key, a token or a hash; here none has a place.
    for path in shipped(repo):
        assert not re.search(r"\b[A-Za-z0-9+/_]{40,}\b", path.read_text()), path
        assert not re.search(r"AKIA|BEGIN [A-Z ]*PRIVATE|ghp_|xox[bp]-", path.read_text()), path


def test_dashboards_listen_on_loopback_or_inside(repo: Path) -> None:
    # Only in a container, whose port is published on loopback (test_docker.py).
    opened = {path.name for path in shipped(repo) if "0.0.0.0" in path.read_text()}
    assert opened == {"compose.yaml"}
    for path in shipped(repo):
        assert "LoadBalancer" not in path.read_text()
        assert "NodePort" not in path.read_text()


def ray_commands(repo: Path) -> Iterator[list[str]]:
    """The words of every ray command of the pages and the shipped files."""
    for path in pages(repo):
        for block in FENCE.findall(path.read_text()):
            for line in block.splitlines():
                line = line.strip().partition("  # ")[0].removesuffix(" &")
                if line.startswith("ray "):
                    yield shlex.split(line)[1:]
    for path in shipped(repo):
        if path.suffix != ".yaml":
            continue
        for command in values(documents(path), "command"):
            if command[0] == "ray":
                yield [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in command[1:]]
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            for found in values(documents(path), key):
                for line in found:
                    yield shlex.split(line.rpartition("ray ")[2])


def test_ray_accepts_every_ray_command(repo: Path) -> None:
    found = list(ray_commands(repo))
    assert {words[0] for words in found} >= {"start", "stop", "job", "up", "down", "dashboard"}
    for words in found:
        parse_ray(words)


def parse_ray(words: list[str]) -> None:
    """Raise what Ray's command line raises where it does not know the options."""
    command: click.Command = ray_cli
    while isinstance(command, click.Group):
        known = command.commands
        assert words[0] in known, f"ray has no command {words[0]}"
        command, words = known[words[0]], words[1:]
    command.make_context(command.name, list(words))


@pytest.mark.parametrize("line", ["start --haed", "jobs submit", "start --port=x"])
def test_a_command_that_ray_refuses_is_noticed(line: str) -> None:
    with pytest.raises((AssertionError, click.ClickException)):
        parse_ray(line.split())


def test_pages_name_files_that_are_there(repo: Path) -> None:
    for path in pages(repo):
        text = path.read_text()
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (path.parent / link).exists(), f"{path.name}: {link}"
        if path.name != "architecture.md":
            for block in FENCE.findall(text):
                for place in PLACE.findall(block):
                    is_made = place.endswith("onprem/hosts")
                    assert is_made or (repo / place).exists(), f"{path.name}: {place}"


def test_every_page_is_reached_from_the_readme(repo: Path) -> None:
    seen, left = set(), [repo / "README.md"]
    while left:
        page = left.pop().resolve()
        if page not in seen:
            seen.add(page)
            links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text())
            left += [page.parent / link for link in links]
    assert {path.resolve() for path in pages(repo)} <= seen


def test_links_of_the_long_description_are_absolute_and_lead_to_files(repo: Path) -> None:
    settings = tomllib.loads((repo / "pyproject.toml").read_text())
    text = (repo / "README.md").read_text()
    for rule in settings["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"][
        "substitutions"
    ]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"\]\(([^)#]+)", text)
    files = settings["project"]["urls"]["Source"] + "/blob/main/"
    assert f"{files}LICENSE" in links
    for link in links:
        assert link.startswith("https://")
        if link.startswith(files):
            assert (repo / link.removeprefix(files)).exists(), link


def written_events(repo: Path) -> set[str]:
    """The names of the events that the code writes."""
    found = set()
    for path in (repo / "noprop_dist").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                called, first = ast.unparse(node.func), node.args[0]
                is_event = called.endswith(("events.write", "._on_event"))
                if is_event and isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_files_page_tells_every_event_and_field(repo: Path) -> None:
    page = (repo / "docs/files.md").read_text()
    _, _, rest = page.partition("## events.jsonl")
    told = set(re.findall(r"^\| `(\w+)`", rest.partition("\n## ")[0], re.MULTILINE))
    assert told == written_events(repo)
    names: list[Any] = [*fields(TrainResult), *fields(History)]
    for name in {field.name for field in names} - {"folder"}:
        assert f"`{name}`" in page


def test_files_page_tells_the_format_of_checkpoints(repo: Path) -> None:
    from noprop_dist.record.checkpoint import FORMAT

    assert f"`format` ({FORMAT};" in (repo / "docs/files.md").read_text()
