"""What workers have to say to the driver while they work."""

from collections.abc import Callable, Iterator
from typing import Any

import ray


class Scribe:
    """Takes down what workers say, for the driver to read meanwhile."""

    def __init__(self) -> None:
        self._said: list[Any] = []

    @ray.method
    def add(self, what: Any) -> None:
        """Write it down."""
        self._said.append(what)

    @ray.method
    def take(self) -> list[Any]:
        """What was said since the last call."""
        said, self._said = self._said, []
        return said


def start_scribe() -> Any:
    """An actor that takes no device."""
    return ray.remote(Scribe).options(num_cpus=0).remote()


def hear(scribe: Any, wait: Callable[[], bool]) -> Iterator[Any]:
    """What is said, as it is said, until the work is over.

    Args:
        scribe: what the workers speak to; each of them waits for its answer.
        wait: waits a moment; whether the work is over.
    """
    over = False
    while not over:
        over = wait()  # asked first: what is said last is heard too
        yield from ray.get(scribe.take.remote())
