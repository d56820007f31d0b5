"""``tvtasks server``: a Prefect server for several watches and workers."""

from __future__ import annotations

from typing import Annotated

import typer

from tvtasks.cli.terminal import say
from tvtasks.errors import ConfigurationError

PORT = 4200


def server(
    host: Annotated[str, typer.Option(help="Address to listen on.", metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            help="Port to listen on.",
            metavar="PORT",
            min=1,
            max=65_535,
            envvar="PREFECT_SERVER_API_PORT",
            show_envvar=False,
        ),
    ] = PORT,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name by which others reach this server, such as lab.example.org. May be repeated.",
            metavar="NAME",
        ),
    ] = None,
) -> None:
    """Run a Prefect server for several watches and workers, until Ctrl-C.

    A watch on one computer needs none: it starts its own. The server answers programs, and its own pages in a
    browser, on this computer; it refuses pages of other sites. Set PREFECT_SERVER_API_AUTH_STRING to
    name:password before you let other computers in.
    """
    from tvtasks.dashboard.serve import serve
    from tvtasks.dashboard.server import LOCAL_PORT, is_free

    if not is_free(port):
        raise ConfigurationError(
            f"Another program uses port {port}. Choose another port: --port {LOCAL_PORT + 1}."
        )
    say(f"The Prefect server starts at http://127.0.0.1:{port}; Ctrl-C stops it.")
    serve(host, port, allow_host or [])
