"""The page of an archive: every image with its picture, to look through in a browser, without a server.

`ArchivePage` keeps ``index.html`` in the archive, with its data and pictures in ``index_files``; a watch
updates it as images arrive. `write_page` makes one file with everything in it. Both show the same page.
"""

from tvtasks.gallery.pictures import picture_bytes
from tvtasks.gallery.records import Unrestored, WatchState
from tvtasks.gallery.single import is_page, write_page
from tvtasks.gallery.store import ArchivePage

__all__ = ["ArchivePage", "Unrestored", "WatchState", "is_page", "picture_bytes", "write_page"]
