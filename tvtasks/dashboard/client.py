"""Clients of a Prefect server that give up soon and retry soon."""

from __future__ import annotations

from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

from tvtasks.dashboard.private import HTTP_HOOKS

_TIMEOUT = 5.0


def client_for(api_url: str, timeout: float = _TIMEOUT) -> SyncPrefectClient:
    """Return a client that gives up after `timeout` seconds, for requests that must not hold anyone up."""
    return SyncPrefectClient(
        api_url,
        auth_string=PREFECT_API_AUTH_STRING.value(),
        api_key=PREFECT_API_KEY.value(),
        httpx_settings={"timeout": timeout, **HTTP_HOOKS},
    )


class Connection:
    """A client that is made when first needed and then kept: making one costs more than a request.

    Parameters
    ----------
    api_url
        The server; it need not be running yet.
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
        """Close the client; the next use makes another."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None
