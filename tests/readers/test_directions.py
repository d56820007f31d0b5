"""Forward and backward images of one channel find each other, in real files and in files made here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.readers.bruker import bruker
from tests.readers.test_gwyddion import gwy
from tests.readers.test_igor import ibw
from tests.readers.test_matrix import IMAGE, PARAMETERS, parameters, scan
from tests.readers.test_nanonis import sxm
from tvtasks import readers
from tvtasks.channels import other_direction
from tvtasks.micrograph import Micrograph

SHARED = Path(__file__).parents[3] / "shared"
SURFACE = np.random.default_rng(0).normal(size=(6, 8)) * 1e-10


def matrix(folder: Path) -> Path:
    (folder / PARAMETERS).write_bytes(parameters(IMAGE))
    (folder / IMAGE).write_bytes(scan())
    return folder / IMAGE


def pairs(images: list[Micrograph]) -> list[tuple[Micrograph, Micrograph]]:
    """Return every forward image with its way back."""
    forward = [image for image in images if image.direction == "forward"]
    return [(image, back) for image in forward if (back := other_direction(image, images)) is not None]


@pytest.mark.parametrize(
    ("name", "count", "channel"),
    [
        ("samples/nanonis_sxm/Au_mica_diPAMY_058.sxm", 2, "Current"),
        ("samples/nanonis_sxm/A151216.123306-02602.sxm", 9, "Frequency_Shift"),
        ("samples/createc_dat/createc_terrace.dat", 2, "Topography"),
        ("samples/jpk/sample_0.jpk", 5, "Height"),
        ("cases/files/circles.nid", 2, "Topography"),
        ("cases/files/A250407.141806.dat", 2, "Topography"),
    ],
)
def test_in_real_files_both_show_one_surface(name: str, count: int, channel: str) -> None:
    path = SHARED / name
    if not path.is_file():
        pytest.skip("the folder of sample files is not here")
    if path.suffix != ".sxm":
        pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")
    images = readers.read(path)
    found = pairs(images)
    assert len(found) == count
    assert sum(image.direction is not None for image in images) == 2 * count
    for forward, back in found:
        assert other_direction(back, images) is forward
        assert (forward.quantity, forward.units) == (back.quantity, back.units)
    forward, back = next(pair for pair in found if pair[0].channel.startswith(channel))
    mirrored = replace(back, data=back.data[:, ::-1])
    assert agreement(forward, back) > 0.1 > agreement(forward, mirrored)


def agreement(one: Micrograph, two: Micrograph) -> float:
    """Return the correlation of what differs from the cubic through each row."""
    columns = np.linspace(-1, 1, one.data.shape[1])
    curves = []
    for image in (one, two):
        rows = image.data[:60].astype(float)  # one of the scans was stopped after these
        fit = np.polynomial.polynomial.polyfit(columns, rows.T, 3)
        curves.append(rows - np.polynomial.polynomial.polyval(columns, fit))
    return float(np.corrcoef(curves[0].ravel(), curves[1].ravel())[0, 1])


class TestMade:
    def test_nanonis(self, tmp_path: Path) -> None:
        images = readers.read(
            sxm(tmp_path / "a.sxm", channels=(("Z", "m", "both"), ("Current", "A", "both")))
        )
        assert [(one.channel, two.channel) for one, two in pairs(images)] == [("Z",) * 2, ("Current",) * 2]

    def test_the_passes_of_nanonis_are_kept_apart(self, tmp_path: Path) -> None:
        images = readers.read(
            sxm(tmp_path / "a.sxm", channels=(("[P1]_Z", "m", "both"), ("[P2]_Z", "m", "both")))
        )
        assert [(one.channel, two.channel) for one, two in pairs(images)] == [
            ("[P1]_Z",) * 2,
            ("[P2]_Z",) * 2,
        ]

    def test_gwyddion(self, tmp_path: Path) -> None:
        images = readers.read(gwy(tmp_path / "a.gwy", "Z (Forward)", "Phase", "Z (Backward)", "Current bwd"))
        ((forward, back),) = pairs(images)
        assert (forward.channel, back.channel) == ("Z (Forward)", "Z (Backward)")
        assert other_direction(images[1], images) is None
        assert other_direction(images[3], images) is None

    def test_igor(self, tmp_path: Path) -> None:
        pytest.importorskip("igor2", reason="the extra [spm] is not installed")
        images = readers.read(ibw(tmp_path / "a.ibw", "HeightTrace", "PhaseRetrace", "HeightRetrace"))
        assert [(one.channel, two.channel) for one, two in pairs(images)] == [
            ("HeightTrace", "HeightRetrace")
        ]

    def test_matrix_scans_up_and_down_are_kept_apart(self, tmp_path: Path) -> None:
        pytest.importorskip("access2thematrix", reason="the extra [spm] is not installed")
        found = pairs(readers.read(matrix(tmp_path)))
        assert [(one.frame, two.frame) for one, two in found] == [(0, 0), (1, 1)]

    def test_bruker(self, tmp_path: Path) -> None:
        pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")
        path = bruker(
            tmp_path / "a.spm",
            ("Height", "Trace", SURFACE),
            ("Height", "Retrace", SURFACE * 2),
            ("Error", "Retrace", SURFACE),
        )
        images = readers.read(path)
        ((forward, back),) = pairs(images)
        np.testing.assert_allclose(forward.data, SURFACE, atol=4e-12)
        np.testing.assert_allclose(back.data, SURFACE * 2, atol=4e-12)
        assert forward.pixel_size == pytest.approx((10e-9, 10e-9))
        assert [image.direction for image in images] == ["forward", "backward", "backward"]
