"""Reruns in the processes of a real Dask cluster, some of which are killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from itertools import pairwise

import psutil
import pytest

from tests.heard import Heard
from tests.rerun.test_working import FIRST, TOML, save
from tvtasks import archive
from tvtasks.errors import ConfigurationError, TvtasksError
from tvtasks.rerun import Request, cluster, run_batch
from tvtasks.workflow import restore_file

distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
dask = pytest.importorskip("dask")

IMAGES = 12


@pytest.fixture(scope="module")
def here():
    """A cluster of two processes that tests kill."""
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=50,
    ) as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An archive of some images, and a recipe that it has no results for."""
    folder = tmp_path_factory.mktemp("cluster")
    for number in range(IMAGES):
        restore_file(save(folder / "scans" / f"stm_{number}.npy", number), FIRST, folder / "archive")
    (folder / "other.toml").write_text(TOML, "utf-8")
    return folder


def do(place, results, dask, **options):
    request = Request((place / "archive",), (str(place / "other.toml"),), results, workers=2, dask=dask)
    return run_batch(request, **options)


def contents(folder):
    """Every array and parameter of each result, without the time and place of the work."""
    records = {path.name: archive.summary(path) for path in folder.glob("*.nxs")}
    return {
        name: {key: record[key] for key in ("run_id", "source", "image", "recipe", "arrays", "notes")}
        for name, record in records.items()
    }


@pytest.fixture(scope="module")
def expected(place):
    """The results of a single process."""
    do(place, place / "one", "")
    found = contents(place / "one")
    assert len(found) == IMAGES
    return found


def test_the_results_are_those_of_one_machine(here, place, expected, tmp_path):
    report = do(place, tmp_path / "many", here.scheduler_address)
    assert (report.restored, report.failed, report.left, report.stopped_because) == (IMAGES, [], 0, "")
    assert contents(tmp_path / "many") == expected
    again = do(place, tmp_path / "many", here.scheduler_address)
    assert (again.restored, again.current) == (0, IMAGES)


def test_the_batch_of_a_killed_process_is_repeated(here, place, expected, tmp_path):
    results, killed = tmp_path / "many", []

    def kill_one(_):
        if not killed:
            pids = distributed.Client(here).run(os.getpid)
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], getattr(signal, "SIGKILL", signal.SIGTERM))

    report = do(place, results, here.scheduler_address, listener=Heard(finished=kill_one))
    assert killed
    assert (report.failed, report.left, report.stopped_because) == ([], 0, "")
    assert contents(results) == expected
    archive.remove_partials(results, timedelta(hours=1))  # perhaps left by the killed process
    assert {path.suffix for path in results.iterdir() if path.is_file()} == {".nxs", ".png"}
    assert {path.name for path in (results / ".tvtasks").iterdir()} <= {
        "archive.json",
        "seals.jsonl",
        "seals.lock",
    }


def test_only_paths_are_sent_never_arrays(here, place, tmp_path, monkeypatch):
    from distributed.protocol.pickle import dumps

    sent = []
    with cluster.cluster(here.scheduler_address, 2) as pool:
        submit = pool.executor.submit
        monkeypatch.setattr(pool.executor, "submit", lambda *call: sent.append(call) or submit(*call))
        monkeypatch.setattr("tvtasks.rerun.request.cluster", lambda *_: _Given(pool))
        do(place, tmp_path / "many", "given")
    assert len(sent) == -(-IMAGES // cluster.BATCH)
    assert all(len(dumps(call)) < 5_000 for call in sent)
    assert all(one[1] != other[1] for one, other in pairwise(sent))


class _Given:
    def __init__(self, pool):
        self.pool = pool

    def __enter__(self):
        return self.pool

    def __exit__(self, *_):
        pass


def test_it_stops_after_the_work_under_way(here, place, tmp_path):
    stop = threading.Event()
    report = do(
        place,
        tmp_path / "many",
        here.scheduler_address,
        stop=stop,
        listener=Heard(finished=lambda _: stop.set()),
    )
    assert report.restored > 0
    assert report.restored + report.left == IMAGES
    assert len(contents(tmp_path / "many")) == report.restored


class TestWhatCannotWork:
    def test_no_scheduler_answers(self, place, tmp_path, monkeypatch):
        monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
        with pytest.raises(ConfigurationError, match=r"No Dask scheduler answers at tcp://127\.0\.0\.1:1"):
            do(place, tmp_path / "many", "tcp://127.0.0.1:1")

    @pytest.mark.parametrize("address", ["nonsense://x", "127.0.0.1:port"])
    def test_an_invalid_address(self, place, tmp_path, monkeypatch, address):
        monkeypatch.setattr(cluster, "_PATIENCE", 0.5)
        with pytest.raises(ConfigurationError, match="No Dask scheduler answers"):
            do(place, tmp_path / "many", address)

    def test_a_worker_with_another_version_is_named(self, here, place, tmp_path, monkeypatch):
        monkeypatch.setattr("tvtasks.__version__", "0.0.0")
        with pytest.raises(ConfigurationError, match=r"but this computer has tvtasks 0\.0\.0"):
            do(place, tmp_path / "many", here.scheduler_address)
        assert not (tmp_path / "many").exists()

    def test_a_lost_scheduler_is_a_sentence(self, place, tmp_path, monkeypatch):
        with unused() as free:
            port = free.getsockname()[1]
        words = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
        scheduler = subprocess.Popen(
            [sys.executable, *words, "--dashboard-address", "127.0.0.1:0"], stderr=subprocess.DEVNULL
        )
        address = f"tcp://127.0.0.1:{port}"

        class Killing(Heard):
            def planned(self, report, summary):
                scheduler.kill()

        try:
            distributed.Client(address, timeout=60).close()
            monkeypatch.setattr(cluster, "_PATIENCE", 2.0)
            with (
                dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
                pytest.raises(TvtasksError, match="no longer answers"),
            ):
                do(place, tmp_path / "many", address, listener=Killing())
        finally:
            scheduler.kill()
            scheduler.wait()

    def test_dask_is_not_installed(self, place, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        with pytest.raises(ConfigurationError, match=r"pip install 'tvtasks\[dask\]'"):
            do(place, tmp_path / "many", "local")


def unused():
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    return free


def test_local_processes_listen_on_loopback_only():
    family = psutil.Process()
    before = listening(family)
    with cluster.cluster("local", 2) as pool:
        assert pool.executor.submit(os.getpid).result() != os.getpid()
        opened = listening(family) - before
    assert opened
    assert {address for address, _ in opened} == {"127.0.0.1"}
    assert not listening(family) - before


def listening(process):
    """Addresses and ports at which a process and its children listen."""
    return {
        tuple(connection.laddr)
        for one in [process, *process.children(recursive=True)]
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.slow
def test_the_command_starts_and_ends_local_processes(place, tmp_path):
    words = ["rerun", place / "archive", "--archive", tmp_path / "many", "--recipe", place / "other.toml"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tvtasks.cli",
            *map(str, words),
            "--dask",
            "local",
            "--no-dashboard",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(contents(tmp_path / "many")) == IMAGES


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform == "win32", reason="a group of processes is sent Ctrl-C in another way there"
)
def test_ctrl_c_in_a_terminal_reaches_the_command_alone_and_ends_it(place, tmp_path):
    """A terminal sends it to the child processes too; if they ended, the rerun would wait for ever."""
    words = ["rerun", place / "archive", "--archive", tmp_path / "many", "--recipe", "afm-background"]
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tvtasks.cli",
            *map(str, words),
            "--dask",
            "local",
            "--no-dashboard",
            "--json",
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as command:
        assert command.stdout
        command.stdout.readline()  # the first image is done
        os.killpg(command.pid, signal.SIGINT)
        *_, summary = command.communicate(timeout=60)[0].splitlines()
    assert command.returncode in {0, 1}
    assert json.loads(summary)["failed"] == []
