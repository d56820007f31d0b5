"""Choose λ for one image: an image, a model and a direction in, a `Choice` with its reasons out.

`choose_background` and `choose_denoise` select the rule. Where the evidence is too weak they say so and keep
the model's own λ. "Tuned" constants were tuned on the scans ``SEEDS_TUNED`` of ``tests.benchmarks.choosing``;
see docs/choosing-lambda.md.
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
