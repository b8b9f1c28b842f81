"""What workers have to say to the driver while they work."""

from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray import cloudpickle


class Channel:
    """Takes down what workers say, for the driver to read meanwhile, and understands none of it.

    To understand it, its process would import PyTorch while the workers are being timed.
    """

    def __init__(self) -> None:
        self._said: list[bytes] = []

    @ray.method
    def add(self, what: bytes) -> None:
        """Write it down."""
        self._said.append(what)

    @ray.method
    def take(self) -> list[bytes]:
        """What was said since the last call."""
        said, self._said = self._said, []
        return said


class Sender:
    """A worker's side: says things, and goes on at once.

    Args:
        channel: from ``open_channel``.
    """

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._under_way: list[Any] = []

    def tell(self, what: object) -> None:
        """Say something."""
        data: bytes = cloudpickle.dumps(what)  # type: ignore[no-untyped-call]
        self._under_way.append(self._channel.add.remote(data))

    def close(self) -> None:
        """Return once everything is taken down."""
        ray.get(self._under_way)


def open_channel() -> Any:
    """An actor that takes no device."""
    return ray.remote(Channel).options(num_cpus=0).remote()


def received(channel: Any, wait: Callable[[], bool]) -> Iterator[Any]:
    """What is said, as it is said, until the work is over.

    Args:
        channel: what the workers speak to.
        wait: waits a moment; whether the work is over.
    """
    over = False
    while not over:
        over = wait()  # asked first: what is said last is heard too
        yield from map(cloudpickle.loads, ray.get(channel.take.remote()))
