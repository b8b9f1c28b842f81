"""Looks at a cluster before it is joined: Ray itself would wait for a minute and then end."""

import json
import platform
import shlex
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray._private import utils
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import AuthenticationError

from noprop_dist.errors import UserError
from noprop_dist.text import shown

CONNECT_S = 4.0
ANSWER_S = 5.0


@contextmanager
def plain_command_line() -> Iterator[None]:
    """Let Ray note how this process was started, also where a word of that is no UTF-8.

    It keeps the command line of every driver, and cannot join a cluster if it fails to.
    """
    line = shlex.join(sys.orig_argv)
    if shown(line) == line:
        yield
        return
    before = utils.get_entrypoint_name
    utils.get_entrypoint_name = lambda: shown(line)
    try:
        yield
    finally:
        utils.get_entrypoint_name = before


def check_reachable(address: str) -> None:
    """Check whether a Ray cluster of this version lets this process in.

    Args:
        address: "host:port" of its head, or "auto" for one that was started on this machine.

    Raises:
        UserError: nobody answers there, or not with these versions, or not to this token.
    """
    if "://" in address:
        raise UserError(
            f"RAY_ADDRESS={address} is a Ray Client's or a dashboard's: give host:port of the "
            "head node, or submit the run with ray job submit."
        )
    try:
        # Ray takes a loopback address for that of this machine's network interface.
        there = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError) as error:
        raise _unreachable(address, error) from error
    if there is None:  # a private one
        return
    host, _, port = there.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError, ValueError) as error:
        raise _unreachable(address, f"{there}: {error}") from error
    versions = _ask(address, there)
    here = {"ray_version": ray.__version__, "python_version": platform.python_version()}
    differing = [
        f"{name.removesuffix('_version').capitalize()} {versions[name]} there, {mine} here"
        for name, mine in here.items()
        if versions[name] != mine
    ]
    if differing:
        raise UserError(
            f"the cluster at {address} runs other versions ({'; '.join(differing)}): use the same "
            "on every node and for the driver."
        )


def _unreachable(address: str, reason: object) -> UserError:
    return UserError(
        f"no Ray cluster can be reached at RAY_ADDRESS={address} ({reason}): start one, or leave "
        "RAY_ADDRESS out."
    )


def _ask(address: str, there: str) -> dict[str, Any]:
    """The versions that the cluster was started with."""
    # Nothing public answers without joining.
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    found: list[Any] = []

    def ask() -> None:
        try:
            client = GcsClient(address=there)
            found.append(client.internal_kv_get(b"CLUSTER_METADATA", b"cluster", timeout=ANSWER_S))
        except Exception as error:  # handed on below
            found.append(error)

    # Where something else listens, the client would wait for most of a minute.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(ANSWER_S)
    answer = found[0] if found else TimeoutError("what listens there does not answer as Ray does")
    if isinstance(answer, AuthenticationError):
        raise UserError(
            f"the cluster at {address} does not accept this process's token: export "
            "RAY_AUTH_MODE=token, and give the cluster's own token in RAY_AUTH_TOKEN or "
            "~/.ray/auth_token."
        ) from answer
    if isinstance(answer, Exception):
        raise _unreachable(address, answer) from answer
    if answer is None:
        raise _unreachable(address, "it is still starting")
    versions: dict[str, Any] = json.loads(answer)
    return versions
