"""An HTTP server in a thread that serves given bytes and, when told, misbehaves as real servers do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Step = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Answers by the next step of the server's script, or plainly where the script is at its end."""

    server: FileServer

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))
        content = self.server.content.get(self.path)
        if content is None:
            return self.send_error(404)
        with self.server.lock:
            step = self.server.script.pop(0) if self.server.script else plain
        step(self, content)

    def answer(self, code: int, body: bytes, **headers: object) -> None:
        """An answer with a Content-Length unless `headers` says otherwise."""
        self.send_response(code)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Keeps the tests' output clean."""


class FileServer(ThreadingHTTPServer):
    """`content` by path; `script`, one step per request to come; `ranges`, the Range header of each so far."""

    daemon_threads = True

    def __init__(self, content: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.script: list[Step] = []
        self.ranges: list[str | None] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(content: dict[str, bytes]) -> Iterator[FileServer]:
    """A running server."""
    with FileServer(content) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _begin(handler: Handler) -> int:
    return int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))


def plain(handler: Handler, content: bytes) -> None:
    """The wanted bytes, as a server does that honours ranges."""
    begin = _begin(handler)
    if begin:
        span = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        return handler.answer(206, content[begin:], Content_Range=span)
    handler.answer(200, content)


def without_ranges(handler: Handler, content: bytes) -> None:
    """Everything, whatever was asked for."""
    handler.answer(200, content)


def from_elsewhere(handler: Handler, content: bytes) -> None:
    """A range, but another one than was asked for."""
    handler.answer(206, content[1:], Content_Range=f"bytes 1-{len(content) - 1}/{len(content)}")


def cut_after(count: int) -> Step:
    """Promises everything that is wanted, sends `count` bytes of it and hangs up."""

    def step(handler: Handler, content: bytes) -> None:
        begin = _begin(handler)
        span = {"Content_Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"} if begin else {}
        rest = content[begin:]
        handler.answer(206 if begin else 200, rest[:count], Content_Length=len(rest), **span)

    return step


def held_after(count: int, gate: threading.Event) -> Step:
    """Sends `count` bytes, waits for the gate, sends the rest."""

    def step(handler: Handler, content: bytes) -> None:
        handler.answer(200, content[:count], Content_Length=len(content))
        handler.wfile.flush()
        gate.wait(30)
        try:
            handler.wfile.write(content[count:])
        except OSError:  # the client was killed meanwhile
            pass

    return step


def other(body: bytes, announced: bool = True) -> Step:
    """Another body than the file's, with or without its length."""
    length = {} if announced else {"Content_Length": None}
    return lambda handler, content: handler.answer(200, body, **length)


def status(code: int) -> Step:
    """An HTTP error."""
    return lambda handler, content: handler.send_error(code)


def redirect(path: str) -> Step:
    """A redirect to another path of the same server."""
    return lambda handler, content: handler.answer(302, b"", Location=path)
