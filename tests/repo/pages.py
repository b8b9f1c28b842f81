"""The shell commands that the pages show, and a newcomer's machine to run them on."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
SHELL = {"", "bash", "console", "sh", "shell"}
REHEARSAL = "-rehearsal-"
MARK = "NOPROP_VISIT"  # in the environment of every process that a visit starts

# What needs a second machine, Docker, Kubernetes, a cloud or a package index, and what runs the
# tests.
ELSEWHERE = (
    "ray start --address=", "export AWS_ACCESS_KEY_ID=",
    "python jobs/train.py --dataset mnist --run-dir s3://",
    "docker ", "kubectl ", "sed 's|noprop-dist:", "export RAY_AUTH_TOKEN=$(kubectl",
    "export RAY_TOKEN_FILE=", "pip install torch", "pip install boto3",
    "chmod 600 ~/.ray/auth_token", "ray up ",
    "ray down ", "ray dashboard ", "noprop push ", "cp cluster/onprem/", "cluster/onprem/",
    "make test",
    "ray job submit --address http://127.0.0.1:8265 --working-dir . -- python jobs/train.py "
    "--dataset mnist --run-dir s3://",
)  # fmt: skip


def blocks(page: str, languages: set[str]) -> list[str]:
    """The fenced blocks of a page in one of the languages."""
    return [text for language, text in FENCE.findall(page) if language in languages]


def lines(page: str) -> list[str]:
    """The shell commands of a page, in order, as they stand."""
    return [step for step in steps(page) if isinstance(step, str)]


@dataclass(frozen=True)
class Python:
    """A block of Python."""

    text: str


@dataclass(frozen=True)
class File:
    """A YAML block whose first line, a comment, names it as a file."""

    name: str
    text: str


def steps(page: str) -> list[str | File | Python]:
    """What a reader of a page does, in order: shell commands as they stand, files, Python."""
    found: list[str | File | Python] = []
    for language, block in FENCE.findall(page):
        if language == "yaml" and (name := re.match(r"# (\S+\.yaml)\n", block)):
            found.append(File(name[1], block))
        if language == "python":
            found.append(Python(block))
        for line in block.replace("\\\n", " ").splitlines() if language in SHELL else ():
            if line.strip() and not line.lstrip().startswith("#"):
                found.append(line.strip().removeprefix("$ "))
    return found


def runs_here(line: str) -> bool:
    """Whether a command needs nothing but this machine."""
    return not line.startswith(ELSEWHERE)


class Shell:
    """A bash that runs lines one after the other, and ends with the first that fails.

    Args:
        folder: where it begins.
        environment: it begins with.
        said: a file for what its commands say.
    """

    def __init__(self, folder: Path, environment: dict[str, str], said: Path) -> None:
        self._said = said
        self._ended, write = os.pipe()  # what the lines start may keep its end of it
        self._bash = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, text=True,
            pass_fds=[write],
        )  # fmt: skip
        self._mark = f"echo >&{write}\n"
        os.close(write)
        self._tell("set -eo pipefail\n")

    def _tell(self, text: str) -> None:
        assert self._bash.stdin is not None
        self._bash.stdin.write(text)
        self._bash.stdin.flush()

    def run(self, line: str, limit_s: float) -> None:
        """Run a line.

        Raises:
            AssertionError: it failed or took too long; holds what it said.
        """
        # Standard input is where the shell reads its lines from.
        self._tell(f"{{ {line}\n}} < /dev/null > {self._said} 2>&1\n{self._mark}")
        how = f"has not ended in {limit_s} s"
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            if select.select([self._ended], [], [], 0.2)[0] and os.read(self._ended, 1):
                return
            if self._bash.poll() is not None:
                how = "failed"
                break
        raise AssertionError(f"{line}\n{how}:\n{self._said.read_text(errors='replace')[-3000:]}")

    def close(self) -> None:
        """End it."""
        self._bash.kill()
        self._bash.communicate()
        os.close(self._ended)


@dataclass
class Visit:
    """A fresh checkout on a newcomer's machine, whose processes end with the visit.

    Attributes:
        folder: the checkout, in which commands run.
        home: of the newcomer.
        environment: a shell begins with it.
    """

    folder: Path
    home: Path
    environment: dict[str, str]
    done: set[str] = field(default_factory=set)

    @property
    def places(self) -> dict[str, str]:
        """What stands for the machines, shared folders and an installation of the pages."""
        data = f" {self.home}/.cache/noprop_dist"
        shared = {f" /{name}/": f" {self.home}/{name}/" for name in ("shared", "runs")}
        installed = {"pip install .": "source .venv/bin/activate"}
        return {"HEAD:": "127.0.0.1:", " /runs/data": data, **shared, **installed}

    @contextmanager
    def shell(self) -> Iterator[Callable[[str], None]]:
        """A new shell in the checkout.

        Yields:
            Runs a line of a page there, but what another page's shell has run; an AssertionError
            holds what a line said that failed.
        """
        bash = Shell(self.folder, self.environment, self.home / "said")

        def run(line: str) -> None:
            known = line
            for name, here in self.places.items():
                known = known.replace(name, here)
            if known in self.done:
                return
            bash.run(known, limit_s=240)
            self.take_for_real()
            if not known.startswith(("source ", "export ")):  # those are of their shell alone
                self.done.add(known)

        try:
            yield run
        finally:
            bash.close()

    def take_for_real(self) -> None:
        """Put what a rehearsal has written where the page's next commands look for it."""
        for root in (self.folder, self.home):
            for path in sorted(root.rglob(f"*{REHEARSAL}*")):
                real = path.with_name(re.sub(REHEARSAL + "[0-9a-f]{6}", "", path.name))
                if path.exists() and not real.exists():
                    path.rename(real)


@contextmanager
def visiting(repo: Path) -> Iterator[Visit]:
    """A checkout, a home with a small MNIST, and things to look at; all gone at the end."""
    with tempfile.TemporaryDirectory(prefix="np", ignore_cleanup_errors=True) as place:
        folder, home = Path(place, "noprop-dist"), Path(place, "home")
        copy_checkout(repo, folder)
        furnish(folder, home)
        mark = f"{os.getpid()}-{time.monotonic_ns()}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PYTEST_"))}
        environment = kept | {
            "HOME": str(home),
            "PATH": without_environment(os.environ["PATH"]),
            "PYTHONPATH": str(folder),
            "RAY_TMPDIR": place,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "NOPROP_REHEARSE": "200",
            MARK: mark,
        }
        try:
            yield Visit(folder, home, environment)
        finally:
            end_processes(f"{MARK}={mark}".encode())


def without_environment(path: str) -> str:
    """A PATH on which a newcomer has not activated this environment."""
    assert sys.prefix != sys.base_prefix, "run the tests in an environment, as make env makes it"
    here = os.path.realpath(Path(sys.prefix, "bin"))
    return ":".join(place for place in path.split(":") if os.path.realpath(place) != here)


def copy_checkout(repo: Path, folder: Path) -> None:
    """The tracked files, and the environment that ``make env`` made."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=repo, capture_output=True, check=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(repo / name, folder / name)
    made = folder / ".venv"
    made.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (made / name).symlink_to(Path(sys.prefix) / name)
    (made / ".installed").touch()


def furnish(folder: Path, home: Path) -> None:
    """MNIST's files with 28 x 28 handwritten digits, a folder of class folders, and pictures."""
    small = load_digits()
    images = np.stack([Image.fromarray((x * 15.9).astype(np.uint8)).resize((28, 28)) for x in
                       small.images[:400]])  # fmt: skip
    labels = small.target[:400].astype(np.uint8)
    raw = home / ".cache/noprop_dist/MNIST/raw"
    raw.mkdir(parents=True)
    for name, rows in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        x, y = images[rows], labels[rows]
        shape = b"".join(n.to_bytes(4, "big") for n in (2051, *x.shape))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(shape + x.tobytes())
        shape = b"".join(n.to_bytes(4, "big") for n in (2049, len(y)))
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(shape + y.tobytes())
    (folder / "photos").mkdir()
    for i, (x, y) in enumerate(zip(images[:60], labels, strict=False)):
        where = folder / "my-digits" / str(y)
        where.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x).save(where / f"{i}.png")
        if i < 3:
            Image.fromarray(x).save(folder / "photos" / f"{i}.png")
    Image.fromarray(images[0]).save(folder / "scan.png")
    (folder / "training_history.json").write_text('{"train_loss_history": [2.1, 1.4, 1.2]}')
    (folder / "data").symlink_to(raw.parents[1], target_is_directory=True)


def end_processes(mark: bytes, limit_s: float = 20) -> None:
    """SIGKILL to every process that was started with ``mark`` in its environment."""
    deadline = time.monotonic() + limit_s
    while pids := [pid for pid in all_pids() if mark in environment_of(pid)]:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        assert time.monotonic() < deadline, f"{pids} do not end"
        time.sleep(0.2)


def all_pids() -> list[int]:
    """Of all processes of this machine."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def environment_of(pid: int) -> list[bytes]:
    """What a process was started with; nothing where it has ended or is another user's."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
