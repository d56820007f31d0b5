"""Write scans as Bruker's Nanoscope software lays them out."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

START = 8192
_METRES_PER_LSB = 0.000375 * 10e-9


def bruker(path: Path, *channels: tuple[str, str, NDArray[np.float64]], nanometres: float = 10.0) -> Path:
    """Write a file of channels (name, line direction, surface in m); a pixel is `nanometres` wide.

    Its lines are stored from the lowest to the highest, each from left to right.
    """
    rows, columns = channels[0][2].shape
    size = 2 * rows * columns
    lines = [
        r"\*File list",
        r"\Version: 0x08150300",
        r"\Date: 09:39:11 AM Wed Dec 20 2017",
        rf"\Data length: {START}",
        r"\*Ciao scan list",
        rf"\Scan Size: {columns * nanometres} {rows * nanometres} nm",
        rf"\Samps/line: {columns}",
        rf"\Lines: {rows}",
        r"\@Sens. Zsens: V 10.00000 nm/V",
    ]
    for number, (name, direction, _) in enumerate(channels):
        lines += [
            r"\*Ciao image list",
            rf"\Data offset: {START + number * size}",
            rf"\Data length: {size}",
            r"\Bytes/pixel: 2",
            rf"\Samps/line: {columns}",
            rf"\Number of lines: {rows}",
            r"\Aspect Ratio: 1:1",
            rf"\Scan Size: {columns * nanometres} {rows * nanometres} nm",
            rf"\Line Direction: {direction}",
            rf'\@2:Image Data: S [{name}] "{name}"',
            r"\@2:Z scale: V [Sens. Zsens] (0.0003750000 V/LSB) 24.57563 V",
        ]
    head = ("\r\n".join([*lines, r"\*File list end"]) + "\r\n\x1a").encode("cp1252")
    values = [np.rint(surface / _METRES_PER_LSB).astype("<i2")[::-1].tobytes() for *_, surface in channels]
    path.write_bytes(head.ljust(START, b"\0") + b"".join(values))
    return path
