"""A browser for the page."""

from tests.browsing import browser, visit  # noqa: F401 - fixtures
