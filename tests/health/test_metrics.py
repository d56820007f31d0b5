"""The metrics for Prometheus, read over HTTP; the board and the alerts use existing ones."""

import json
import re
import shutil
import socket
import subprocess
from datetime import datetime
from pathlib import Path
from urllib.request import urlopen

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.health.metrics import Metrics, serving
from tvtasks.ledger import Ledger
from tvtasks.outcome import Change, Outcome
from tvtasks.scores import QualityScores

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
SCORES = QualityScores(None, None, None, None, None, None, saturated=0.0)
NAME = re.compile(r"\btvtasks_\w+")


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


def asked(metrics):
    """What Prometheus scrapes: values by name and labels."""
    with serving(metrics, 0) as url, urlopen(url) as reply:
        families = text_string_to_metric_families(reply.read().decode())
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in families
            for sample in family.samples
        }


def read(path):
    return path


class TestMetrics:
    def test_files_by_state_and_the_age_of_the_queue_come_from_the_ledger(self, ledger, tmp_path):
        for number in range(3):
            ledger.enqueue(tmp_path / f"{number}.npy", 1, 1, f"sha{number}", "recipe")
        ledger.finish(ledger.claim("recipe"), [], {})
        waited = 100.0
        overview = ledger.overview("recipe")
        seen = overview.oldest_waiting.first_seen
        now = datetime.fromisoformat(seen).timestamp() + waited
        told = asked(Metrics(lambda: ledger.overview("recipe"), now=lambda: now))
        assert told["tvtasks_files", "queued"] == 2
        assert told["tvtasks_files", "done"] == 1
        assert told["tvtasks_queue_age_seconds",] == pytest.approx(waited)

    def test_an_empty_queue_has_no_age(self, ledger):
        assert asked(Metrics(ledger.overview))["tvtasks_queue_age_seconds",] == 0

    def test_arrivals_and_outcomes_are_counted(self, ledger):
        metrics = Metrics(ledger.overview, now=lambda: 123.0)
        gaps = [Outcome(name="a", recipe="r", gap=gap) for gap in (2e-4, None, 1e-7)]
        for state in ("settling", *["queued"] * 4, "running", "failed", "overwritten"):
            metrics.changed(Change(Path("a.tif"), state))
        metrics.changed(Change(Path("a.tif"), "done", outcomes=tuple(gaps)))
        metrics.changed(Change(Path("b.tif"), "done"))
        told = asked(metrics)
        assert told["tvtasks_arrived_total",] == 4
        assert told["tvtasks_restored_total",] == 2
        assert told["tvtasks_not_restored_total",] == 1
        assert told["tvtasks_last_restored_timestamp_seconds",] == 123.0
        assert told["tvtasks_gap_count",] == 2
        assert told["tvtasks_gap_bucket", "0.0001"] == 1

    def test_scores_are_counted_and_flags_as_well_before_the_first_image(self, ledger):
        metrics = Metrics(ledger.overview)
        assert asked(metrics)["tvtasks_flagged_total", "saturated"] == 0
        for kept, clipped in ((0.8, 0.0), (1.0, 0.0), (None, 0.3)):
            scores = QualityScores(None, 2.0, 1.0, None, None, None, saturated=clipped, step_kept=kept)
            done = (Outcome(name="a", recipe="r", scores=scores),)
            metrics.changed(Change(Path("a.tif"), "done", outcomes=done))
        told = asked(metrics)
        assert told["tvtasks_score_count", "step_kept"] == 2
        assert told["tvtasks_score_bucket", "0.9", "step_kept"] == 1
        assert told["tvtasks_score_sum", "lines_left"] == pytest.approx(1.5)
        assert told["tvtasks_score_count", "saturated"] == 3
        assert told["tvtasks_flagged_total", "steps changed"] == 1
        assert told["tvtasks_flagged_total", "saturated"] == 1

    def test_each_stage_is_timed_whether_it_succeeds_or_not(self, ledger):
        metrics = Metrics(ledger.overview)

        def call(step, /, *args, **kwargs):
            return step(*args, **kwargs)

        def fail():
            raise ArchiveError("full")

        timed = metrics.timed(call)
        assert timed(read, 3) == 3
        with pytest.raises(ArchiveError):
            timed(fail)
        told = asked(metrics)
        assert told["tvtasks_stage_seconds_count", "read"] == 1
        assert told["tvtasks_stage_seconds_count", "fail"] == 1

    def test_an_unreadable_ledger_leaves_the_other_metrics(self):
        def overview():
            raise ArchiveError("away")

        told = asked(Metrics(overview))
        assert ("tvtasks_restored_total",) in told
        assert ("tvtasks_queue_age_seconds",) not in told


def test_a_port_that_is_taken_is_a_sentence(ledger):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} .* Give --metrics another port"):  # noqa: SIM117
            with serving(Metrics(ledger.overview), port):
                pass


class TestAlertsAndBoard:
    @pytest.fixture
    def names(self, ledger):
        metrics = Metrics(ledger.overview)
        metrics.timed(lambda step, /, *args, **kwargs: step(*args, **kwargs))(read, 1)
        metrics.changed(
            Change(Path("a"), "done", outcomes=(Outcome(name="a", recipe="r", gap=1e-3, scores=SCORES),))
        )
        return {name for name, *_ in asked(metrics)}

    def test_the_alerts_use_existing_metrics(self, names):
        text = (DEPLOYMENTS / "prometheus-alerts.yml").read_text("utf-8")
        rules = yaml.safe_load(text)["groups"][0]["rules"]
        wanted = {name for rule in rules for name in NAME.findall(rule["expr"])}
        assert wanted
        assert wanted <= names
        for rule in rules:
            assert rule["expr"].count("(") == rule["expr"].count(")")
            assert {"alert", "expr", "for", "labels", "annotations"} <= rule.keys()

    def test_the_board_uses_existing_metrics(self, names):
        board = json.loads((DEPLOYMENTS / "grafana.json").read_text("utf-8"))
        asks = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        wanted = {name for ask in asks for name in NAME.findall(ask)}
        assert wanted <= names
        assert {"tvtasks_files", "tvtasks_gap_bucket", "tvtasks_queue_age_seconds"} <= wanted

    @pytest.fixture
    def promtool(self):
        if not shutil.which("promtool"):
            pytest.skip("promtool is not installed; it comes with Prometheus")
        return lambda *words: subprocess.run(
            ["promtool", *map(str, words)], check=False, capture_output=True, text=True
        )

    def test_the_alerts_fire_when_they_should_and_not_during_a_quiet_night(self, promtool):
        run = promtool("test", "rules", Path(__file__).with_name("alerts.yml"))
        assert run.returncode == 0, run.stdout + run.stderr

    def test_prometheus_accepts_the_queries_of_the_board(self, promtool, tmp_path):
        board = json.loads((DEPLOYMENTS / "grafana.json").read_text("utf-8"))
        asks = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        rules = [{"record": f"board:{number}", "expr": ask} for number, ask in enumerate(asks)]
        path = tmp_path / "board.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}), "utf-8")
        run = promtool("check", "rules", path)
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"{len(asks)} rules found" in run.stdout
