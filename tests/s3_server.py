"""An S3 server of this machine, and a proxy before it that breaks what it is told to."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR
from threading import Thread
from typing import Literal

KEY, SECRET = "key", "secret-of-tests"


@dataclass(frozen=True)
class Server:
    """nanio, which checks signatures and keeps an object in a file of the same name."""

    endpoint: str
    root: Path

    def place(self, uri: str) -> Path:
        """Where it keeps what a URI names."""
        return self.root / uri.removeprefix("s3://")

    def files(self, uri: str) -> list[str]:
        """What is there, without locks."""
        folder = self.place(uri)
        found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
        return sorted(name for name in found if name != ".lock")

    def forget_holder(self, uri: str) -> None:
        """Let the lock that a dead run left be as old as one is that is taken over at once."""
        then, lock = time.time() - 1000, self.place(uri) / ".lock"
        os.utime(lock, (then, then))
        for about in (self.root / "bucket/.nanio-meta").rglob(".lock*"):
            about.unlink()  # else it goes by the time that it wrote down


@contextmanager
def s3_server(folder: Path, limit_s: float = 30) -> Iterator[Server]:
    """A server with one bucket named "bucket", on a free port of loopback."""
    root, log = folder / "s3", folder / "s3.log"
    (root / "bucket").mkdir(parents=True)
    # Not by its own command, which takes no port 0.
    command = [sys.executable, "-m", "uvicorn", "--factory", "nanio.app:build_app", "--port=0"]
    command += ["--no-access-log"]
    settings = {"NANIO_ACCESS_KEY": KEY, "NANIO_SECRET_KEY": SECRET, "NANIO_DATA_DIR": str(root)}
    with (
        log.open("wb") as out,
        subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | settings) as process,
    ):
        try:
            deadline = time.monotonic() + limit_s
            while not (found := re.search(r"on (http://127.0.0.1:\d+)", log.read_text())):
                assert time.monotonic() < deadline, log.read_text()
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield Server(found[1], root)
        finally:
            process.terminate()


def environment(endpoint: str, secret: str = SECRET) -> dict[str, str]:
    """How a process is told of a server."""
    return {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


Fault = Literal["none", "cut", "503"]


@dataclass
class Breaker:
    """Decides what becomes of each request, and remembers what it decided.

    Attributes:
        decide: from method and path to "none"; "cut", in the middle of its body; or "503".
    """

    decide: Callable[[str, str], Fault] = lambda *_: "none"
    done: list[Fault] = field(default_factory=list)

    def __call__(self, method: str, path: str) -> Fault:
        fault = self.decide(method, path)
        self.done.append(fault)
        return fault


class Quiet(ThreadingHTTPServer):
    """A server of HTTP that complains of nobody."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # whoever asked has gone
        pass


@contextmanager
def proxy(server: Server, breaker: Breaker) -> Iterator[str]:
    """An endpoint before the server's; signatures hold, since no header is changed."""
    host = server.endpoint.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece, which no acknowledgement delays

        def log_message(self, *_: object) -> None:
            pass

        def handle_expect_100(self) -> bool:
            super().handle_expect_100()
            self.wfile.flush()
            return True

        def handle_any(self) -> None:
            fault = breaker(self.command, self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length // 2 if fault == "cut" else length)
            if fault == "503":
                self.send_error(503, "Slow Down")
                return
            connection = HTTPConnection(host, timeout=30)
            connection.putrequest(self.command, self.path, skip_host=True)
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body)
            if fault == "cut":
                connection.close()
                self.close_connection = True
                self.connection.shutdown(SHUT_RDWR)
                return
            answer = connection.getresponse()
            data = answer.read()
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", size or "0")
            self.end_headers()
            self.wfile.write(data)
            connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    with Quiet(("127.0.0.1", 0), Handler) as listening:
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_address[1]}"
        finally:
            listening.shutdown()
            thread.join(30)
