import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Micrograph
from tvtasks.readers import isolated

IMAGE = np.arange(6 * 8, dtype=np.float32).reshape(6, 8)


def only(path: Path) -> Micrograph:
    (micrograph,) = readers.read(path)
    return micrograph


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.nxs"


def write_nexus(path: Path, *, units: str = "nm", x: np.ndarray | None = None) -> None:
    """Write an image of 2 nm × 0.5 nm pixels as NeXus, with a second one that is not the default."""
    with h5py.File(path, "w") as file:
        file.attrs["default"] = "entry"
        entry = file.create_group("entry")
        entry.attrs.update(NX_class="NXentry", default="height")
        entry["start_time"] = "2024-05-01T12:56:16Z"
        for name, values in (("height", IMAGE), ("phase", -IMAGE)):
            group = entry.create_group(name)
            group.attrs.update(NX_class="NXdata", signal="z", axes=["y", "x"])
            group["z"] = values
            group["z"].attrs.update(units="V", long_name="Topography")
            group["y"] = 10 + np.arange(6) * 2.0
            group["x"] = np.arange(8) * 0.5 if x is None else x
            for axis in "yx":
                group[axis].attrs["units"] = units
                group[axis].make_scale(axis)
                group["z"].dims["yx".index(axis)].attach_scale(group[axis])


class TestNexus:
    def test_the_default_plot_is_read_with_its_scale_and_its_unit(self, path: Path) -> None:
        write_nexus(path)
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, IMAGE)
        assert micrograph.data.dtype == np.float32
        assert micrograph.pixel_size == pytest.approx((2e-9, 0.5e-9))
        assert (micrograph.units, micrograph.channel) == ("V", "Topography")
        assert micrograph.acquired_at == datetime(2024, 5, 1, 12, 56, 16, tzinfo=UTC)
        assert micrograph.vendor_metadata["/entry/height"]["axes"] == ["y", "x"]

    @pytest.mark.parametrize(("units", "metres"), [("m", 1), ("um", 1e-6), ("µm", 1e-6), ("angstrom", 1e-10)])
    def test_lengths_are_turned_into_metres(self, path: Path, units: str, metres: float) -> None:
        write_nexus(path, units=units)
        assert only(path).pixel_size == pytest.approx((2 * metres, 0.5 * metres))

    @pytest.mark.parametrize("units", ["deg", "ms", ""])
    def test_axes_that_are_no_lengths_are_noted(self, path: Path, units: str) -> None:
        write_nexus(path, units=units)
        micrograph = only(path)
        assert micrograph.pixel_size is None
        assert "not a length" in micrograph.notes[0]

    def test_uneven_axes_are_noted(self, path: Path) -> None:
        write_nexus(path, x=np.arange(8.0) ** 2)
        micrograph = only(path)
        assert micrograph.pixel_size is None
        assert "axis x is not evenly spaced" in micrograph.notes[0]

    def test_axes_may_name_the_edges_of_pixels(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.attrs.update(signal="z", axes=["y", "x"])
            file["z"] = IMAGE
            for name, edges in (("y", np.arange(7)), ("x", np.arange(9))):
                file[name] = edges
                file[name].attrs["units"] = "nm"
        assert only(path).pixel_size == pytest.approx((1e-9, 1e-9))

    def test_the_older_way_to_mark_a_signal(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            group = file.create_group("entry/data")
            group["counts"] = IMAGE
            group["counts"].attrs.update(signal=1, axes="y:x")
            group["weights"] = IMAGE
            for name, count in (("y", 6), ("x", 8)):
                group[name] = np.arange(count)
                group[name].attrs["units"] = np.bytes_("mm")
        micrograph = only(path)
        np.testing.assert_array_equal(micrograph.data, IMAGE)
        assert micrograph.pixel_size == pytest.approx((1e-3, 1e-3))

    def test_a_stack_gives_frames_calibrated_by_the_last_axes(self, path: Path) -> None:
        write_nexus(path)
        with h5py.File(path, "a") as file:
            group = file["entry/height"]
            del group["z"]
            group["z"] = np.stack([IMAGE, IMAGE + 1])
            group.attrs["axes"] = [".", "y", "x"]
        frames = readers.read(path)
        np.testing.assert_array_equal([frame.data for frame in frames], [IMAGE, IMAGE + 1])
        assert [frame.frame for frame in frames] == [0, 1]
        assert frames[1].pixel_size == pytest.approx((2e-9, 0.5e-9))

    @pytest.mark.parametrize("default", ["missing", ".", "entry"])
    def test_a_default_that_leads_nowhere_is_passed_over(self, path: Path, default: str) -> None:
        with h5py.File(path, "w") as file:
            file.attrs["default"] = default
            file["entry/image"] = IMAGE
        np.testing.assert_array_equal(only(path).data, IMAGE)


class TestPlainHdf5:
    @pytest.mark.skipif(sys.platform == "win32", reason="there only the clock stops it, after a minute")
    def test_a_zeroed_block_on_which_hdf5_never_comes_back_is_given_up(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with h5py.File(path, "w") as file:
            file["image"] = IMAGE
            file["image"].attrs["a"] = "text that HDF5 keeps in its heap"
        content = path.read_bytes()
        heap = content.index(b"GCOL") + 24
        path.write_bytes(content[:heap] + bytes(64) + content[heap + 64 :])
        monkeypatch.setattr(isolated, "_PROCESSOR_SECONDS", 1.0)
        with pytest.raises(
            UnreadableFileError, match=r"a\.nxs cannot be read as an HDF5 file: .*exceeded its limit of time"
        ):
            readers.read(path)

    def test_the_only_image_is_read(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["scan/image"] = IMAGE.astype(">i2")
            file["scan/time"] = np.arange(9)
            file["scan/comment"] = "tip 3"
        micrograph = only(path)
        assert micrograph.data.dtype == np.int16
        np.testing.assert_array_equal(micrograph.data, IMAGE)
        assert micrograph.channel == "image"

    def test_several_images_are_listed_and_refused(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["backward"] = IMAGE
            file["forward"] = IMAGE
        with pytest.raises(UnreadableFileError, match=r"contains 2 datasets .*\(/backward, /forward\)"):
            readers.read(path)

    def test_no_image_is_refused(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["spectrum"] = np.arange(100.0)
            file["nothing"] = h5py.Empty("f8")
        with pytest.raises(UnreadableFileError, match="contains no image"):
            readers.read(path)

    def test_complex_values_are_refused(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["wave"] = IMAGE * 1j
        with pytest.raises(UnreadableFileError, match="complex"):
            readers.read(path)

    def test_an_image_without_pixels_is_refused(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file["image"] = np.zeros((0, 8))
        with pytest.raises(UnreadableFileError, match="without pixels"):
            readers.read(path)

    def test_an_image_that_was_never_filled_is_refused_before_it_fills_the_memory(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("image", shape=(10**6, 10**6), dtype="f4", chunks=(512, 512))
        with pytest.raises(UnreadableFileError, match="MiB of pixels"):
            readers.read(path)

    def test_a_damaged_chunk_becomes_a_sentence(self, path: Path) -> None:
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("image", data=IMAGE, chunks=(6, 8), fletcher32=True)
            chunk = dataset.id.get_chunk_info(0)
        content = bytearray(path.read_bytes())
        content[chunk.byte_offset + 8] ^= 1
        path.write_bytes(content)
        with pytest.raises(UnreadableFileError, match=r"a\.nxs cannot be read as an HDF5 file"):
            readers.read(path)


class TestUnfinished:
    def test_a_file_cut_anywhere_is_refused(self, path: Path) -> None:
        write_nexus(path)
        content = path.read_bytes()
        assert readers.unfinished(path) is None
        for length in range(0, len(content), 97):
            path.write_bytes(content[:length])
            assert readers.unfinished(path), f"cut to {length} of {len(content)} bytes"
        with pytest.raises(UnreadableFileError, match="is incomplete: it ends after"):
            readers.read(path)

    def test_a_file_that_another_program_writes_to(self, path: Path) -> None:
        program = (
            "import sys, h5py; file = h5py.File(sys.argv[1], 'w'); file['image'] = [[1.0]]; file.flush();"
            "print('writing', flush=True); sys.stdin.read(); file.close()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline().startswith(b"writing")
            assert readers.unfinished(path)
            writer.communicate()
        assert readers.unfinished(path) is None

    def test_a_file_marked_as_open_where_locks_do_not_work(self, path: Path) -> None:
        copy = path.with_name("copy.nxs")
        with h5py.File(path, "w", libver="latest") as file:
            file["image"] = IMAGE
            file.flush()
            copy.write_bytes(path.read_bytes())
        assert readers.unfinished(copy) == "the program that writes it has not closed it yet"
