"""Reads a Dockerfile, and replays it in folders where no container engine is at hand.

As root, with the root file system of a distribution in a folder (debootstrap makes one):

    python tests/ship/dockerfile.py BASE_FOLDER WORK_FOLDER [--arg NAME=VALUE] [--mount PATH]

Every stage becomes a folder under WORK_FOLDER, every RUN a chroot into it. What this cannot show
is what an engine adds: layers, users of its own, and the real base image.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

REPO = Path(__file__).resolve().parents[2]


class Step(NamedTuple):
    """An instruction, such as RUN, and what follows it on one line."""

    name: str
    rest: str


def steps(text: str) -> list[Step]:
    """The instructions of a Dockerfile, without comments, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [Step(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def stages(found: list[Step]) -> list[list[Step]]:
    """The instructions of each stage; those before the first FROM are left out."""
    split: list[list[Step]] = []
    for step in found:
        if step.name == "FROM":
            split.append([])
        if split:
            split[-1].append(step)
    return split


class Stage:
    """One stage, in a folder that becomes its root."""

    def __init__(self, base: Path, root: Path, given: Mapping[str, str], mounts: list[str]) -> None:
        self.root, self.given, self.mounts = root, given, mounts
        self.env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        self.env |= {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        self.args: dict[str, str] = {}
        self.shell, self.user, self.cwd = ["/bin/sh", "-c"], "0:0", "/"
        subprocess.run(["cp", "-a", base, root], check=True)

    def perform(self, step: Step, others: Mapping[str, "Stage"]) -> None:
        """Do what an instruction says; those that only describe the image do nothing here."""
        if step.name == "RUN":
            self.run([*self.shell, step.rest])
        elif step.name == "COPY":
            self.copy(shlex.split(step.rest), others)
        elif step.name == "SHELL":
            self.shell = [word.strip(' "') for word in step.rest.strip("[] ").split(",")]
        elif step.name == "USER":
            self.user = step.rest
        elif step.name == "WORKDIR":
            self.cwd = step.rest
            self.inside(step.rest).mkdir(parents=True, exist_ok=True)
        elif step.name == "ARG":
            name, _, default = step.rest.partition("=")
            self.args[name] = self.given.get(name, default.strip('"'))
        elif step.name == "ENV":
            for word in shlex.split(step.rest):
                name, _, value = word.partition("=")
                self.env[name] = value.replace("$PATH", self.env["PATH"])

    def run(self, command: list[str]) -> None:
        """A command inside, as the stage's user."""
        for path in self.mounts:
            self.inside(path).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", path, self.inside(path)], check=True)
        words = ["chroot", f"--userspec={self.user}", str(self.root)]
        words += ["env", f"--chdir={self.cwd}", *command]
        print("+", *command[-1:], flush=True)
        try:
            subprocess.run(words, check=True, env=self.env | self.args)
        finally:
            for path in reversed(self.mounts):
                subprocess.run(["umount", self.inside(path)], check=True)

    def copy(self, words: list[str], others: Mapping[str, "Stage"]) -> None:
        """Files from the repository, or from another stage."""
        source = REPO
        if words[0].startswith("--from="):
            source = others[words.pop(0).removeprefix("--from=")].root
        *names, target = words
        place = self.inside(str(Path(self.cwd, target)))
        place.parent.mkdir(parents=True, exist_ok=True)
        for name in names:
            found = source / name.lstrip("/")
            into = place / found.name if target.endswith("/") else place
            if found.is_dir():
                unwanted = None if source != REPO else shutil.ignore_patterns("__pycache__")
                shutil.copytree(found, into, symlinks=True, ignore=unwanted, dirs_exist_ok=True)
            else:
                shutil.copy2(found, into)

    def inside(self, path: str) -> Path:
        """A path of the stage as seen from outside."""
        return self.root / path.lstrip("/")


def main() -> None:
    """Replay docker/Dockerfile."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("base", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--mount", action="append", default=[], metavar="PATH")
    options = parser.parse_args()
    given = dict(pair.split("=", 1) for pair in options.arg)
    done: dict[str, Stage] = {}
    for number, found in enumerate(stages(steps((REPO / "docker/Dockerfile").read_text()))):
        _, _, name = found[0].rest.partition(" AS ")
        stage = Stage(options.base, options.work / f"{number}", given, options.mount)
        for step in found[1:]:
            stage.perform(step, done)
        done[name or "image"] = stage
    print(f"the image is in {done['image'].root}")


if __name__ == "__main__":
    main()
