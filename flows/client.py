"""How this process speaks to a Prefect server: by clients that cost little, and that soon ask again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.context import SyncClientContext
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
)

_PATIENCE = 5.0
_FIRST_PAUSE = 0.03
_TRIES = "tvtasks.tries"


def soon_again(response: httpx.Response) -> None:
    """Say when to ask a server again that answers "busy" and does not say it itself.

    On SQLite that answer means that somebody else has written just then, and a moment later it is good:
    every third run begins so. Prefect's client would wait for 2 s, and then for longer. Its number of
    attempts stays; their pauses are .03 s at first, and four times as long each time.
    """
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" not in response.headers:
        tries = response.request.extensions.get(_TRIES, 0)
        response.request.extensions[_TRIES] = tries + 1
        response.headers["Retry-After"] = str(_FIRST_PAUSE * 4**tries)


_HOOKS = {"event_hooks": {"response": [soon_again]}}


@contextmanager
def own_client() -> Iterator[SyncPrefectClient]:
    """Have what runs in this context use one client of its own, that soon asks again; give it."""
    with SyncClientContext(_HOOKS) as context:
        yield context.client


def client_for(api_url: str, timeout: float = _PATIENCE) -> SyncPrefectClient:
    """Return a client that soon gives up, for what nobody should wait for."""
    return SyncPrefectClient(
        api_url,
        auth_string=PREFECT_API_AUTH_STRING.value(),
        api_key=PREFECT_API_KEY.value(),
        httpx_settings={"timeout": timeout, **_HOOKS},
    )


class Connection:
    """A client that is made when it is first needed, and then kept: making one costs more than a request.

    Parameters
    ----------
    api_url
        The server, which need not be there.
    """

    def __init__(self, api_url: str) -> None:
        self._api_url = api_url
        self._client: SyncPrefectClient | None = None

    @property
    def client(self) -> SyncPrefectClient:
        """The client; for one thread at a time."""
        if self._client is None:
            self._client = client_for(self._api_url)
            self._client.__enter__()
        return self._client

    def close(self) -> None:
        """Close the client; whoever asks again gets another."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None


@contextmanager
def cheap_clients(api_url: str) -> Iterator[dict[Any, Any]]:
    """Give the settings with which a client, of which each run has its own, costs less.

    Each client reads all certificates of the system, even where none is needed, and asks the server for a
    token even where it has none. One client for all runs would wait for over a minute when the server dies.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings: dict[Any, Any] = {}
        where = urlsplit(api_url)
        # Not for others: a proxy may lead from http to https.
        if where.scheme == "http" and where.hostname in {"127.0.0.1", "localhost", "::1"}:
            one, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----\n")
            certificate = Path(folder, "one.pem")
            certificate.write_text(one + end, "utf-8")
            settings[PREFECT_API_SSL_CERT_FILE] = str(certificate)
        with suppress(httpx.HTTPError):
            reply = httpx.get(
                f"{api_url.removesuffix('/')}/csrf-token", params={"client": "tvtasks"}, timeout=2.0
            )
            if reply.status_code == httpx.codes.UNPROCESSABLE_ENTITY:  # switched off, says the server
                settings[PREFECT_CLIENT_CSRF_SUPPORT_ENABLED] = False
        yield settings
