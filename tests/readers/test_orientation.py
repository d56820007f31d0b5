"""Up and where: every reader shows the same surface, and a point keeps its coordinates into the archive."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.readers.bruker import bruker
from tests.readers.test_gwyddion import gwy
from tests.readers.test_igor import ibw
from tests.readers.test_matrix import IMAGE, PARAMETERS, parameters, scan
from tests.readers.test_nanonis import sxm
from tvtasks import archive, readers, restore
from tvtasks.export import export
from tvtasks.micrograph import Micrograph
from tvtasks.recipe import Recipe

MEDIAN = Recipe.model_validate({"median": {}})

Surfaces = st.tuples(st.integers(8, 14), st.integers(8, 14), st.integers(0, 2**32 - 1))


def surface(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32) * 1e-10


def nexus(path: Path, data: np.ndarray, y: np.ndarray, x: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs.update(signal="z", axes=["y", "x"])
        file["z"] = data
        for name, axis in (("y", y), ("x", x)):
            file[name] = axis
            file[name].attrs["units"] = "nm"
    return path


def made(folder: Path, data: np.ndarray) -> dict[str, Callable[[], Path]]:
    """Return functions that write a surface in every format that is written here, in every direction."""
    return {
        "sxm down": lambda: sxm(folder / "down.sxm", data),
        "sxm up": lambda: sxm(folder / "up.sxm", data, scan="up"),
        "sxm backward": lambda: sxm(folder / "bw.sxm", data, channels=(("Z", "m", "backward"),)),
        "sxm up, backward": lambda: sxm(
            folder / "upbw.sxm", data, scan="up", channels=(("Z", "m", "backward"),)
        ),
        "gwy": lambda: gwy(folder / "a.gwy", "Z", surface=data.astype(float), xoff=1e-7, yoff=2e-7),
        "ibw": lambda: ibw(folder / "a.ibw", "HeightTrace", "HeightRetrace", surface=data),
        "bruker": lambda: bruker(folder / "a.spm", ("Height", "Trace", data), ("Height", "Retrace", data)),
        "npy": lambda: (np.save(folder / "a.npy", data), folder / "a.npy")[1],
        "nexus": lambda: nexus(folder / "a.nxs", data, np.arange(len(data))[::-1], np.arange(data.shape[1])),
    }


FORMATS = {"ibw": "igor2", "gwy": "gwyfile", "bruker": "gwyddionpy"}


@pytest.mark.parametrize("kind", list(made(Path(), np.zeros((2, 2)))))
@given(size=Surfaces)
@settings(max_examples=10, deadline=None)
def test_every_format_and_direction_shows_the_surface_as_it_is(
    kind: str, size: tuple[int, int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if package := FORMATS.get(kind):
        pytest.importorskip(package, reason=f"{package} is not installed")
    data = surface(*size)
    for image in readers.read(made(tmp_path_factory.mktemp("scans"), data)[kind]()):
        np.testing.assert_allclose(image.data, data, rtol=1e-6, atol=3e-12 if kind == "bruker" else 0)


@pytest.mark.parametrize("rises", [(True, True), (True, False), (False, True), (False, False)])
@given(size=Surfaces, start=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))
@settings(max_examples=5, deadline=None)
def test_a_point_keeps_its_coordinates_from_file_to_archive_to_export(
    rises: tuple[bool, bool],
    size: tuple[int, int, int],
    start: tuple[float, float],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("scans")
    data = surface(*size)
    y, x = (
        first + step * np.arange(count) * (1 if up else -1)
        for first, step, count, up in zip(start, (2.0, 0.5), data.shape, rises, strict=True)
    )
    (image,) = readers.read(nexus(folder / "a.nxs", data, y, x))
    np.testing.assert_array_equal(image.data, data)
    np.testing.assert_allclose(image.coordinates(0, np.arange(len(y))), y * 1e-9, atol=1e-15)
    path = archive.write(restore(image, MEDIAN), folder / "archive")
    with h5py.File(path, locking=False) as file:
        for name, axis in (("y", y), ("x", x)):
            stored = file[f"entry/raw/{name}"]
            assert stored.attrs["units"] == "nm"
            np.testing.assert_allclose(stored, axis, rtol=1e-9, atol=1e-6)
    run = archive.load(path)
    assert run.micrograph.position == image.position
    (exported,) = export(run, "gsf", folder)
    (again,) = readers.read(exported)
    header = again.vendor_metadata
    edges = float(header["XOffset"]) + 0.25e-9, float(header["YOffset"]) + 1e-9
    np.testing.assert_allclose(edges, (x.min() * 1e-9, y.min() * 1e-9), rtol=1e-6, atol=1e-15)


def test_without_a_position_the_first_row_is_drawn_at_the_top(tmp_path: Path) -> None:
    image = Micrograph(surface(9, 8, 0), pixel_size=(2e-9, 1e-9))
    path = archive.write(restore(image, MEDIAN), tmp_path)
    with h5py.File(path, locking=False) as file:
        np.testing.assert_allclose(file["entry/raw/y"], 2.0 * np.arange(8, -1, -1))


@pytest.mark.parametrize(("scan", "angle", "found"), [("up", "0.0E+0", True), ("down", "9.0E+1", False)])
def test_where_a_scan_of_nanonis_was(tmp_path: Path, scan: str, angle: str, found: bool) -> None:
    extra = f":SCAN_OFFSET:\n             1.0E-7         2.0E-7\n:SCAN_ANGLE:\n            {angle}"
    image = readers.read(sxm(tmp_path / "a.sxm", scan=scan, extra=extra))[0]
    if not found:
        assert image.position is None
        return
    centre = [image.coordinates(axis, np.arange(image.data.shape[axis])).mean() for axis in (0, 1)]
    assert centre == pytest.approx((2e-7, 1e-7))
    y = image.coordinates(0, np.arange(2))
    assert y[0] > y[1]


def test_where_a_field_of_gwyddion_was(tmp_path: Path) -> None:
    image = readers.read(gwy(tmp_path / "a.gwy", "Z", xoff=1e-7, yoff=-2e-7))[0]  # 3 × 4 pixels, 6 nm × 4 nm
    y, x = (image.coordinates(axis, np.arange(image.data.shape[axis])) for axis in (0, 1))
    np.testing.assert_allclose(y, [-1.95e-7, -1.97e-7, -1.99e-7])
    np.testing.assert_allclose(x, [1.005e-7, 1.015e-7, 1.025e-7, 1.035e-7])
    assert readers.read(gwy(tmp_path / "b.gwy", "Z"))[0].position is None


@pytest.mark.parametrize("turned", [0, 30])
def test_where_a_scan_of_matrix_was(tmp_path: Path, turned: int) -> None:
    pytest.importorskip("access2thematrix", reason="the extra [spm] is not installed")
    (tmp_path / PARAMETERS).write_bytes(parameters(IMAGE, x=1e-7, y=-2e-7, angle=turned))
    (tmp_path / IMAGE).write_bytes(scan())
    for image in readers.read(tmp_path / IMAGE):
        if turned:
            assert image.position is None
            continue
        y, x = (image.coordinates(axis, np.arange(image.data.shape[axis])) for axis in (0, 1))
        assert (y.mean(), x.mean()) == pytest.approx((-2e-7, 1e-7))
        assert y[0] > y[-1]


@pytest.mark.parametrize("kind", list(made(Path(), np.zeros((2, 2)))))
def test_every_pixel_keeps_its_coordinates_in_the_archive(kind: str, tmp_path: Path) -> None:
    if package := FORMATS.get(kind):
        pytest.importorskip(package, reason=f"{package} is not installed")
    image = readers.read(made(tmp_path, surface(9, 14, 1))[kind]())[0]
    kept = archive.load(archive.write(restore(image, MEDIAN), tmp_path)).micrograph
    assert kept.position == image.position
    for axis, size in enumerate(image.data.shape):
        pixels = np.arange(size)
        np.testing.assert_array_equal(kept.coordinates(axis, pixels), image.coordinates(axis, pixels))


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("kind", ["sxm down", "sxm up", "sxm backward", "sxm up, backward", "ibw", "gwy"])
def test_gwyddion_shows_the_same_at_the_same_scale(kind: str, stopped: bool, tmp_path: Path) -> None:
    gwyddionpy = pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")
    if package := FORMATS.get(kind):
        pytest.importorskip(package, reason=f"{package} is not installed")
    data = surface(9, 14, 3)
    if stopped:
        data[slice(0, 4) if "up" in kind else slice(5, 9)] = np.nan if "sxm" in kind else 0.0
    path = made(tmp_path, data)[kind]()
    shown = list(gwyddionpy.load(path).channels.values())
    images = readers.read(path)
    assert len(shown) == len(images)
    scanned = np.isfinite(data)
    for channel, image in zip(shown, images, strict=True):
        np.testing.assert_allclose(image.data[scanned], channel.data[scanned], rtol=1e-6)
        rows, columns = data.shape
        assert image.pixel_size == pytest.approx((channel.yreal / rows, channel.xreal / columns))
