"""Nothing that tvtasks starts contacts another computer or listens to one."""

import ast
import os
import subprocess
import sys
from ipaddress import ip_address
from urllib.parse import urlsplit

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate

LOCAL = {"localhost", None, ""}


def is_outside(address):
    """Whether an address, or a name to resolve, is neither this computer nor a file."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode()
    if host in LOCAL or (isinstance(address, str) and address.startswith(("/", "\0"))):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def events_of(audit):
    lines = audit.log.read_text().splitlines()
    return [(event, ast.literal_eval(address)) for event, address in (line.split("\t") for line in lines)]


@pytest.fixture
def work(server, audit, at_server, write_scan, tmp_path):
    """A server, a watch and a worker that have each done their work."""
    environment = {**os.environ, **audit.environment, "PREFECT_API_URL": server.api_url}
    write_scan("stm_0001.npy")
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="network", type="process"))
    commands = {
        "tvtasks.cli": ["watch", "scans", "--archive", "archive", "--recipe", "stm-scratches", "--once"],
        "prefect": ["worker", "start", "--pool", "network", "--run-once"],
    }
    for module, options in commands.items():
        done = subprocess.run(
            [sys.executable, "-m", module, *options],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_server_watch_and_worker_talk_to_this_computer_only(work, server, audit):
    events = events_of(audit)
    port = urlsplit(server.api_url).port
    assert ("socket.connect", ("127.0.0.1", port)) in events, "the watch has asked the server"
    assert ("socket.bind", ("127.0.0.1", port)) in events, "the server listens"
    assert {event for event in events if is_outside(event[1])} == set()


@pytest.mark.parametrize(
    ("address", "outside"),
    [
        (("127.0.0.1", 4200), False),
        (("::1", 4200, 0, 0), False),
        ("localhost", False),
        ("/run/x", False),
        (("8.8.8.8", 53), True),
        (("0.0.0.0", 4200), True),
        (("::", 4200, 0, 0), True),
        ("api.prefect.io", True),
        (b"example.org", True),
    ],
)
def test_what_counts_as_outside(address, outside):
    assert is_outside(address) is outside
