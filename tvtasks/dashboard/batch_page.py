"""The page of a batch: a progress bar and a table of its images, refreshed while the batch runs."""

from __future__ import annotations

import json
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from tvtasks.dashboard.markdown import plain
from tvtasks.listener import Listener
from tvtasks.outcome import BatchReport, Outcome
from tvtasks.periodic import Periodic

REFRESH_SECONDS = 2.0
"""Seconds between refreshes of the page."""

MOST_FAILURES = 200
"""Most failed images in the table; the terminal lists all of them."""

_JOIN_SECONDS = 10.0


class BatchPage(Listener):
    """Shows a batch on the page of the current flow run; a thread refreshes the page.

    Images are not task runs: bookkeeping for ten thousand task runs would take minutes, and the table shows
    more.
    """

    def __init__(self) -> None:
        self._report: BatchReport | None = None
        self._shown = -1
        self._bar: UUID | None = None
        self._table: UUID | None = None
        # The artifacts belong to the run of the thread that makes this object.
        self._thread = Periodic(
            self._refresh, every=REFRESH_SECONDS, name="tvtasks batch page", expected=(Exception,)
        )

    def planned(self, report: BatchReport, summary: str) -> None:
        """Show the batch from now on."""
        self._report = report
        self._thread.start()

    def __enter__(self) -> BatchPage:
        return self

    def __exit__(self, *_: object) -> None:
        if self._report is not None and self._thread.stop(_JOIN_SECONDS):
            self._thread.call()

    def _refresh(self) -> None:
        if self._report is not None and self._report.done != self._shown:
            done = self._report.done
            self._show(self._report)
            self._shown = done

    def _show(self, report: BatchReport) -> None:
        percent = 100.0 * report.done / report.total if report.total else 100.0
        archive = plain(str(report.archive))
        text = f"{report.done} of {report.total} images: {report.sentence}. Archive: {archive}"
        rows = table(report)
        if self._bar is None:
            self._bar = cast(UUID, create_progress_artifact(percent, "batch-progress", text))
        else:
            update_progress_artifact(self._bar, percent, text)
        if self._table is None:
            self._table = cast(UUID, create_table_artifact(rows, "batch-images", text))
            return
        with get_client(sync_client=True) as client:
            client.update_artifact(self._table, ArtifactUpdate(data=json.dumps(rows), description=text))


def table(report: BatchReport) -> list[dict[str, str]]:
    """Return the rows of the table: failed images, then the latest others, both newest first.

    The size of the table is limited, because the server keeps every version of it.
    """
    failed = list(reversed(report.failed[-MOST_FAILURES:]))
    return [_row(outcome) for outcome in (*failed, *reversed(report.last))]


def _row(outcome: Outcome) -> dict[str, str]:
    name = plain(outcome.name)
    if outcome.state == "failed":
        return {"image": name, "state": "failed", "gap": "", "seconds": "", "result": plain(outcome.reason)}
    gap = "" if outcome.gap is None else f"{outcome.gap:.1e}"
    return {
        "image": name,
        "state": "current already" if outcome.state == "current" else "restored",
        "gap": f"{gap} (not reached)" if outcome.converged is False else gap,
        "seconds": "" if outcome.seconds is None else f"{outcome.seconds:.2f}",
        "result": plain(str(outcome.archive)),
    }
