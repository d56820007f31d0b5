"""Images as pictures that a browser decodes, small and yet precise: each as a few layers that add up.

A picture has 256 greys, too few for an image whose atoms are a hundredth of its slope. So an image is stored
as its difference from one that is there already (the one at the next λ), with the range of that difference,
and if that is still too coarse, as another picture of what is left.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import features

Floats = NDArray[np.floating[Any]]
Layer = tuple[float, float, str]
"""The values of black and white, and the picture as an address."""

_MOST = 3


def encode(image: Floats, base: Floats, tolerance: float, quality: int) -> tuple[list[Layer], Floats]:
    """Return the layers that add up to an image, and what they add up to.

    Parameters
    ----------
    image
        The image, shape (M, N).
    base
        What the layers are added to.
    tolerance
        RMS error from which no further layer is made.
    quality
        Of the pictures, up to 100.
    """
    layers: list[Layer] = []
    sum_ = base.astype(np.float32)
    for _ in range(_MOST):
        rest = image - sum_
        if layers and float(np.sqrt(np.mean(rest**2))) <= tolerance:
            break
        low, high = float(rest.min()), float(rest.max())
        greys = np.round((rest - low) * (255 / max(high - low, 1e-12))).astype(np.uint8)
        content, kind = _compressed(Pillow.fromarray(greys), quality)
        seen = np.asarray(Pillow.open(io.BytesIO(content)).convert("RGB"))[..., 0].astype(np.float32)
        sum_ = sum_ + np.float32(low) + seen * np.float32((high - low) / 255)
        layers.append((low, high, f"data:image/{kind};base64,{base64.b64encode(content).decode()}"))
    return layers, sum_


def _compressed(picture: Pillow.Image, quality: int) -> tuple[bytes, str]:
    kind = "webp" if features.check("webp") else "jpeg"
    buffer = io.BytesIO()
    picture.save(buffer, kind.upper(), quality=quality)
    return buffer.getvalue(), kind
