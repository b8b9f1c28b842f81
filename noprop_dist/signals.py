"""Ctrl-C, SIGTERM and SIGHUP as requests to a run, and SIGTERM as a notice to a worker."""

import signal
import socket
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


def when_terminated(tell: Callable[[], object]) -> None:
    """From now on SIGTERM ends nothing here: ``tell`` is called, in a thread of its own.

    A main thread that is not in Python's code, as that of a worker of Ray, runs no handler of a
    signal. Its number is written to a socket all the same.

    Args:
        tell: called on the first SIGTERM.
    """
    heard, written = socket.socketpair()
    written.setblocking(False)
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.set_wakeup_fd(written.detach())

    def listen() -> None:
        while signal.SIGTERM not in heard.recv(64):
            pass
        tell()

    threading.Thread(target=listen, name="termination", daemon=True).start()


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
