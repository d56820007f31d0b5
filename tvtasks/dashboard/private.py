"""Every use of something in Prefect outside its public interface, with the version and when it can go.

Written for Prefect 3.8.8, and tested with that version and 3.9.1. Whoever updates
Prefect reads this file first: each function states why it exists and what would make it unnecessary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import certifi
import httpx
import prefect
from prefect import Flow, runtime
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, SyncClientContext
from prefect.events.worker import EventsWorker
from prefect.filesystems import LocalFileSystem
from prefect.flow_engine import run_flow
from prefect.logging.handlers import APILogWorker
from prefect.settings import (
    PREFECT_API_SSL_CERT_FILE,
    PREFECT_CLIENT_CSRF_SUPPORT_ENABLED,
    PREFECT_LOCAL_STORAGE_PATH,
)

_FIRST_PAUSE = 0.03
_TRIES = "tvtasks.tries"
_FLUSH_SECONDS = 10.0


def retry_soon(response: httpx.Response) -> None:
    """Set a short pause before the next request to a server that answers "busy" without naming one.

    With SQLite, that answer means that another request has just written, and a moment later all is well:
    every third run begins this way. Prefect's client would wait 2 s, and then longer. The number of attempts
    stays; the pauses are 0.03 s at first, and four times as long each time.

    Goes when Prefect's server no longer answers 503 while SQLite is locked for an instant, or when the first
    pause of its client becomes a setting.
    """
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" not in response.headers:
        tries = response.request.extensions.get(_TRIES, 0)
        response.request.extensions[_TRIES] = tries + 1
        response.headers["Retry-After"] = str(_FIRST_PAUSE * 4**tries)


HTTP_HOOKS = {"event_hooks": {"response": [retry_soon]}}


@contextmanager
def own_client() -> Iterator[SyncPrefectClient]:
    """Make runs in this context use one client of their own, with `retry_soon`; yield it.

    Goes when Prefect has settings for the hooks or pauses of its clients.
    """
    with SyncClientContext(HTTP_HOOKS) as context:
        yield context.client


@contextmanager
def cheap_client_settings(api_url: str) -> Iterator[dict[Any, Any]]:
    """Yield settings that make clients cheaper; each run has a client of its own.

    A client reads all certificates of the system, even if it needs none, and asks the server for a token even
    if the server has none: 15 of the 40 ms that a client costs. A single client for all runs would wait for
    over a minute when the server dies.

    Goes when Prefect makes one certificate store for all its clients.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings: dict[Any, Any] = {}
        where = urlsplit(api_url)
        # Not for other hosts: a proxy may redirect from http to https.
        if where.scheme == "http" and where.hostname in {"127.0.0.1", "localhost", "::1"}:
            one, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----\n")
            certificate = Path(folder, "one.pem")
            certificate.write_text(one + end, "utf-8")
            settings[PREFECT_API_SSL_CERT_FILE] = str(certificate)
        with suppress(httpx.HTTPError):
            reply = httpx.get(
                f"{api_url.removesuffix('/')}/csrf-token", params={"client": "tvtasks"}, timeout=2.0
            )
            if reply.status_code == httpx.codes.UNPROCESSABLE_ENTITY:  # the server has switched it off
                settings[PREFECT_CLIENT_CSRF_SUPPORT_ENABLED] = False
        yield settings


def run_here(
    flow: Flow[..., Any], run: FlowRun, parameters: Mapping[str, Any], *, returns: Literal["result", "state"]
) -> Any:
    """Run a flow in this process as a run that already exists, under its name.

    Prefect would ask, in a thread and over a connection of its own, whether a run with a deployment should
    pause, which costs more than everything else; so the run is passed on without its deployment. A copy of
    the flow without ``flow_run_name`` keeps Prefect from renaming the run.

    Goes when a flow can be called with an existing run, or when ``flow.with_options`` can set the deployment.
    """
    named = copy.copy(flow)
    named.flow_run_name = None
    run = run.model_copy(update={"deployment_id": None})
    return run_flow(named, flow_run=run, parameters=dict(parameters), return_type=returns)


def store_no_results(flow: Flow[..., Any]) -> None:
    """Give a flow a place for results, where nothing is ever stored.

    Without one, Prefect asks the server for a place twice in each run, even with ``persist_result=False``.

    Goes when it no longer asks.
    """
    flow.result_storage = LocalFileSystem(basepath=str(PREFECT_LOCAL_STORAGE_PATH.value()))


def run_context() -> dict[str, Any]:
    """Return what the run record of a result keeps about the current flow run.

    This does not use ``prefect.runtime``, which asks the server for the deployment each time, even of a run
    that has none.

    Goes when it no longer asks.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return {}
    run = context.flow_run
    return {
        "prefect": {
            "flow_run_id": str(run.id),
            "flow_run_name": runtime.flow_run.name,
            "run_count": run.run_count,
            "deployment_id": str(run.deployment_id) if run.deployment_id else None,
        }
    }


def post_artifact(client: SyncPrefectClient, artifact: ArtifactCreate) -> UUID:
    """Create an artifact and return its id.

    This does not use ``create_artifact()``, which also sends an event with the whole content; the worker that
    sends it delays the end of the process.

    Goes when artifacts can be created without an event.
    """
    content = artifact.model_dump(mode="json", exclude_unset=True)
    return UUID(client.request("POST", "/artifacts/", json=content).json()["id"])


def patch_artifact(client: SyncPrefectClient, artifact: UUID, data: Any) -> None:
    """Change the content of an artifact; see `post_artifact`."""
    client.request("PATCH", "/artifacts/{id}", path_params={"id": artifact}, json={"data": data})


def is_unreachable(error: BaseException) -> bool:
    """Return whether an error means that the Prefect server cannot be reached.

    Prefect raises a plain RuntimeError when a run begins without a server.

    Goes when that error has a class of its own.
    """
    if isinstance(error, RuntimeError):
        return "Failed to reach API" in str(error)
    return isinstance(error, httpx.HTTPError)


@contextmanager
def without_new_interface() -> Iterator[None]:
    """Make servers that are created in this context offer the first interface alone.

    The second one asks an analytics host on the internet for its configuration, and the first one advertises
    the second.

    Goes when the second interface asks nobody, or when a setting removes it.
    """
    path = prefect.__ui_v2_static_path__
    if not Path(prefect.__ui_static_path__).exists():  # there is no other
        yield
        return
    prefect.__ui_v2_static_path__ = path / "removed by tvtasks"
    try:
        yield
    finally:
        prefect.__ui_v2_static_path__ = path


def send_what_is_left() -> None:
    """Send the logs and events that are still waiting.

    A server that was started here stops next, and Prefect would try for over a minute to reach it at the end
    of the process.

    Goes when Prefect gives up at once on a server that refuses connections.
    """
    APILogWorker.drain_all(timeout=_FLUSH_SECONDS, at_exit=False)
    EventsWorker.drain_all(timeout=_FLUSH_SECONDS, at_exit=False)
