"""What Wine lacks and Windows has: the only tests that are skipped for Wine's sake."""

import ctypes
import sys

import pytest

UNDER_WINE = sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")

needs_reports_from_subfolders = pytest.mark.skipif(
    UNDER_WINE, reason="Wine 8: ReadDirectoryChangesW reports nothing from the subfolders that are there"
)
needs_links = pytest.mark.skipif(
    sys.platform == "win32", reason="links need a privilege on Windows, and Wine 8 makes none"
)
