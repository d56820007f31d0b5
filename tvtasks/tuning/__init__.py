"""One image on one page, to look at closely: at many values of λ, or as several runs restored it."""

from tvtasks.tuning.compare import compare
from tvtasks.tuning.series import Series, Tuning, tune
from tvtasks.tuning.write import html

__all__ = ["Series", "Tuning", "compare", "html", "tune"]
