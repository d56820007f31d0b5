"""Choosing λ for one image: image, model and direction in, a `Choice` with its reasons out. No files.

`choose_background` and `choose_denoise` pick the rule; where the evidence is too thin they say so and keep
the model's own λ.
"""

from tvtasks.choosing.background import ATOMIC, choose_background
from tvtasks.choosing.choice import RULES, Choice, as_background, with_lam
from tvtasks.choosing.risk import choose_denoise
from tvtasks.choosing.size import by_size, metres, size_in_pixels

__all__ = [
    "ATOMIC",
    "RULES",
    "Choice",
    "as_background",
    "by_size",
    "choose_background",
    "choose_denoise",
    "metres",
    "size_in_pixels",
    "with_lam",
]
