"""Keep Prefect's folder and a developer's settings of it out of the tests, and out of what they start."""

import os
import tempfile

_HOME = tempfile.TemporaryDirectory(prefix="tvtasks-tests-", ignore_cleanup_errors=True)


def pytest_configure() -> None:
    # Here and not in a fixture: Prefect makes its folder when a test module imports it.
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = _HOME.name
