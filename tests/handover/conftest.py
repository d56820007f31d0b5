"""Shorten waiting times for these tests."""

import pytest


@pytest.fixture(autouse=True)
def _short_pauses(short_pauses: None) -> None:
    pass
