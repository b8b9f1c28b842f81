"""Ctrl-C, SIGTERM and SIGHUP as requests to a run."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self


class SignalledError(KeyboardInterrupt):
    """A signal asks this process to stop.

    A class of its own: where a plain KeyboardInterrupt has passed through ``exec``, as in many an
    import, ``python -m`` ends by SIGINT, whatever exit code it is given.
    """


class StopSignals:
    """Ctrl-C, SIGTERM and SIGHUP as a request while somebody listens, else as a KeyboardInterrupt.

    The second signal is never a request. Outside the main thread signals are left alone, and so is
    a SIGHUP that is ignored: that is what ``nohup`` asks for.
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
            raise SignalledError
        ask()

    def __enter__(self) -> Self:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
            if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
                numbers.remove(signal.SIGHUP)
            for number in numbers:
                self._before[number] = signal.signal(number, self._handle)
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


@contextmanager
def withheld(number: signal.Signals) -> Iterator[None]:
    """Keep a signal from the processes that are started inside; here it comes afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
