"""A thread that calls a function again and again, whatever it raises."""

import logging
import threading
from contextvars import ContextVar

from tvtasks.periodic import Periodic

LONG = 20.0


def test_an_error_is_logged_and_it_carries_on(caplog):
    third = threading.Event()
    calls = []

    def stumble():
        calls.append(len(calls))
        if len(calls) == 3:
            third.set()
        raise ValueError("boom")

    with caplog.at_level(logging.ERROR), Periodic(stumble, every=0.001, name="stumbling"):
        assert third.wait(LONG)
    assert "stumbling failed" in caplog.text
    assert "boom" in caplog.text


def test_an_expected_error_is_not_logged_as_an_error(caplog):
    done = threading.Event()

    def away():
        done.set()
        raise OSError("away")

    with caplog.at_level(logging.INFO), Periodic(away, every=LONG, name="asking", expected=(OSError,)):
        assert done.wait(LONG)
    assert caplog.text == ""


def test_it_has_the_context_of_whoever_made_it():
    setting = ContextVar("setting", default="none")
    seen, done = [], threading.Event()
    setting.set("ours")
    periodic = Periodic(lambda: (seen.append(setting.get()), done.set()), every=LONG, name="looking")
    setting.set("other")
    with periodic:
        assert done.wait(LONG)
    assert seen == ["ours"]


def test_one_that_hangs_is_not_waited_for_longer_than_asked_and_one_that_never_began_not_at_all():
    release, began = threading.Event(), threading.Event()

    def hang():
        began.set()
        release.wait(LONG)

    hanging = Periodic(hang, every=LONG, name="hanging")
    assert hanging.stop()
    hanging = Periodic(hang, every=LONG, name="hanging")
    hanging.start()
    assert began.wait(LONG)
    assert not hanging.stop(0.01)
    release.set()
    assert hanging.stop(LONG)


def test_it_may_wait_before_the_first_time():
    calls = []
    with Periodic(lambda: calls.append(1), every=LONG, name="waiting", wait_first=True):
        pass
    assert calls == []
