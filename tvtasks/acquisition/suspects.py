"""Restores a file that may have ended the watch in a process of its own.

A file that was being restored when the watch was killed may be the cause: its image needs more memory than
there is, or a library crashes on it. It may as well be innocent, since any kill interrupts several files. So
the next attempt happens in a child process. If that dies too, the file is at fault, and the watch lives.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tvtasks import errors, memory
from tvtasks.archive.storage import Storage
from tvtasks.errors import DeadlyFileError, TvtasksError
from tvtasks.outcome import Outcome
from tvtasks.places import holding
from tvtasks.processes import Child, ChildEndedError, serve
from tvtasks.recipe import Recipe

_OUTCOMES = TypeAdapter(list[Outcome])
_STORAGE = TypeAdapter(Storage)
_MODULE = "tvtasks.acquisition.suspects"


def restore_apart(
    path: Path, recipe: Recipe, archive: Path, storage: Storage, archive_id: str
) -> list[Outcome]:
    """Restore a file as `tvtasks.workflow.restore_file` does, in a child process.

    Raises
    ------
    DeadlyFileError
        The process died.
    TvtasksError, OSError, RuntimeError
        What the child raised.
    """
    request = {
        "path": str(path.absolute()),
        "recipe": recipe.model_dump(mode="json"),
        "archive": str(archive.absolute()),
        "storage": _STORAGE.dump_python(storage, mode="json"),
        "archive_id": archive_id,
        "memory": memory.BUDGET.limit,
    }
    child = Child(_MODULE)
    try:
        answer = child.ask(request)
    except ChildEndedError as error:
        raise DeadlyFileError(
            f"{path.name} ended the process that restored it, twice: first the watch, then a process of its "
            "own. Probably it needs more memory than there is, or a library crashes on it. Reduce the image, "
            "or restore it on a computer with more memory; after that, run tvtasks retry."
        ) from error
    finally:
        child.close()
    return _OUTCOMES.validate_python(_raised(answer))


def _raised(answer: Mapping[str, Any]) -> Any:
    """Return the outcomes in an answer, or raise the error in it."""
    if "errno" in answer:
        raise OSError(answer["errno"], answer["message"])
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    if "defect" in answer:
        raise RuntimeError(answer["defect"])
    return answer["outcomes"]


def _answer(request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    from tvtasks.workflow import restore_file  # noqa: PLC0415 - only the child restores

    try:
        archive = Path(request["archive"])
        with memory.limited(request["memory"]), holding(archive, request["archive_id"]):
            done = restore_file(
                Path(request["path"]),
                Recipe.model_validate(request["recipe"]),
                archive,
                storage=_STORAGE.validate_python(request["storage"]),
            )
        yield {"outcomes": _OUTCOMES.dump_python(done, mode="json")}
    except TvtasksError as error:
        yield {"error": type(error).__name__, "message": str(error)}
    except OSError as error:
        yield {"errno": error.errno, "message": error.strerror or str(error)}
    except Exception:
        yield {"defect": traceback.format_exc()}


if __name__ == "__main__":
    serve(_answer)
