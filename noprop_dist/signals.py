"""Ctrl-C and SIGTERM as requests to a run."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self


class StopSignals:
    """Ctrl-C and SIGTERM as a request while somebody listens, else as a KeyboardInterrupt.

    The second signal is never a request. Outside the main thread signals are left alone.
    """

    def __init__(self) -> None:
        self._ask: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def asking(self, ask: Callable[[], None]) -> Iterator[None]:
        """Call ``ask`` on a signal, once."""
        self._ask = ask
        try:
            yield
        finally:
            self._ask = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        ask, self._ask = self._ask, None
        if ask is None:
            raise KeyboardInterrupt
        ask()

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.signal(number, self._handle)
                self._before[number] = before
        return self

    def __exit__(self, *error: object) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def kept(number: signal.Signals) -> Iterator[None]:
    """Keep the handler of a signal from what goes on inside."""
    before = signal.getsignal(number)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(number, before)
