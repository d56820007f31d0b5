"""Keep Prefect's folder and a developer's settings of it out of the tests; no test is judged by its speed."""

import os
import signal
import tempfile

from hypothesis import settings

_HOME = tempfile.TemporaryDirectory(prefix="tvtasks-tests-", ignore_cleanup_errors=True)

# The first call of a solver on a machine compiles it, which takes seconds.
settings.register_profile("compiled", deadline=None)
settings.load_profile("compiled")


def pytest_configure() -> None:
    # Here and not in a fixture: Prefect makes its folder when a test module imports it.
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = _HOME.name
    # A shell has what it starts in the background ignore Ctrl-C, and so would the processes that tests send it to.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
