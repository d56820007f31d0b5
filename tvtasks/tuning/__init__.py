"""One image at many values of λ on one page, to choose λ by eye."""

from tvtasks.tuning.series import Series, Tuning, tune
from tvtasks.tuning.write import html

__all__ = ["Series", "Tuning", "html", "tune"]
