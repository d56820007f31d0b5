"""A catalogue on loopback that tells repeated requests by their key, and fails as it is told to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LOST = 0
"""Taken, but the answer is lost: the connection ends without one."""


def fails_every_third_time(number: int) -> int:
    """Return what to answer a request: every third one fails, in turn before and after it was taken."""
    return 201 if number % 3 else (503, LOST)[number // 3 % 2]


class Receiver:
    """The server, its address, and the requests that it took.

    Parameters
    ----------
    answer
        Returns the status to answer a request with, given its number from 1 on.
    """

    def __init__(self, answer: Callable[[int], int] = lambda number: 201) -> None:
        self.bodies: list[Any] = []
        self.keys: list[str] = []
        self.asked, self.headers = 0, {}  # type: ignore[var-annotated]
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked += 1
                receiver.headers = dict(self.headers)
                code = answer(receiver.asked)
                key = self.headers["Idempotency-Key"]
                if code < 400 and key not in receiver.keys:
                    receiver.keys.append(key)
                    receiver.bodies.append(body)
                self.close_connection = code == LOST
                if code == LOST:
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.answer(code, b"{}")

            def do_GET(self) -> None:
                """Answer with all that was taken, like a search in a lab book."""
                self.answer(200, json.dumps(receiver.bodies).encode())

            def answer(self, code: int, content: bytes) -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Leave it: who asked was killed."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/datasets"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
