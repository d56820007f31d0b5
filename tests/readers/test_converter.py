"""Files that gwyddionpy's converter reads, and what has gone wrong with it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.readers import reader

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the folder of sample files is not here")

CREATEC = b"[Paramco32]\r\nDAC-Type=20bit\r\n" + b"\0" * 50


@needs_samples
class TestSamples:
    @pytest.fixture(autouse=True)
    def _needs_the_extra(self) -> None:
        pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")

    @pytest.mark.parametrize(
        ("name", "shape", "nanometres", "technique", "channels"),
        [
            ("createc_dat/createc_terrace.dat", (512, 512), 108.75, "STM", 4),
            ("jpk/sample_0.jpk", (256, 256), 326.9165, "AFM", 10),
            ("wsxm_stp/sample_0.top", (512, 512), 500, "AFM", 1),
            ("wsxm_stp/sample_1_um_scale.stp", (512, 512), 2000, "AFM", 1),
            ("digitalsurf/test_surface.sur", (128, 128), 10562.81, None, 1),
        ],
    )
    def test_shape_size_and_technique(
        self, *, name: str, shape: tuple[int, int], nanometres: float, technique: str | None, channels: int
    ) -> None:
        images = readers.read(SAMPLES / name)
        assert len(images) == channels
        for image in images:
            assert image.data.shape == shape
            assert image.pixel_size == pytest.approx((nanometres * 1e-9 / shape[0],) * 2, rel=1e-6)
            assert image.technique == technique
            assert image.reader[0].startswith("gwyddionpy")

    @pytest.mark.parametrize("name", ["createc_dat/createc_terrace.dat", "jpk/sample_0.jpk"])
    def test_forward_and_backward_show_the_same_surface(self, name: str) -> None:
        heights = [image for image in readers.read(SAMPLES / name) if image.quantity == "height"]
        forward, backward = (
            next(image.data for image in heights if image.direction == direction)
            for direction in ("forward", "backward")
        )
        assert np.corrcoef(forward.ravel(), backward.ravel())[0, 1] > 0.98
        assert np.corrcoef(forward.ravel(), backward[:, ::-1].ravel())[0, 1] < 0.5

    def test_heights_of_wsxm_are_those_of_its_own_numbers(self) -> None:
        # 512 × 512 int16 after the header, the last line first and each line from the right, scaled linearly.
        content = (SAMPLES / "wsxm_stp" / "sample_0.top").read_bytes()
        stored = np.frombuffer(content[-512 * 512 * 2 :], "<i2").reshape(512, 512)[::-1, ::-1].astype(float)
        (image,) = readers.read(SAMPLES / "wsxm_stp" / "sample_0.top")
        assert abs(np.corrcoef(stored.ravel(), image.data.ravel())[0, 1]) > 0.999999

    def test_digital_surf_lacks_a_constant_and_says_so(self) -> None:
        digitalsurf = pytest.importorskip("rsciio.digitalsurf", reason="the extra [em] is not installed")
        path = SAMPLES / "digitalsurf" / "test_surface.sur"
        (signal,) = digitalsurf.file_reader(str(path))
        (image,) = readers.read(path)
        assert np.ptp(signal["data"] - image.data) < 1e-6 * np.ptp(image.data)
        assert [axis["scale"] * 1e-3 for axis in signal["axes"]] == pytest.approx(image.pixel_size)
        assert "omits a constant" in image.notes[0]

    def test_a_bruker_header_without_pixels_is_refused(self) -> None:
        with pytest.raises(UnreadableFileError, match=r"data_header\.000 is incomplete: it ends after"):
            readers.read(SAMPLES / "bruker_spm" / "bruker_data_header.000")

    def test_rubbish_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.dat").write_bytes(CREATEC)
        with pytest.raises(UnreadableFileError, match=r"converter cannot read .*a\.dat"):
            readers.read(tmp_path / "a.dat")


def test_without_the_extra_the_sentence_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    (tmp_path / "a.dat").write_bytes(CREATEC)
    with pytest.raises(UnreadableFileError, match=r"a\.dat .*pip install 'tvtasks\[gwyddion\]'"):
        readers.read(tmp_path / "a.dat")


class TestTraps:
    """What the converter was seen to hand over; these files are not ours to keep."""

    @pytest.fixture
    def hand_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        gwyddionpy = pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")

        def hand_over(**channels: dict[str, Any]) -> list[Any]:
            (tmp_path / "a.dat").write_bytes(CREATEC)
            plain = {"xreal": 1.0, "yreal": 1.0, "si_unit_xy": "", "si_unit_z": "", "meta": {}}
            found = {name: SimpleNamespace(**(plain | channel)) for name, channel in channels.items()}
            data = SimpleNamespace(channels=found, source_format="asylum", metadata={})
            monkeypatch.setattr(gwyddionpy, "load", lambda path, timeout: data)
            return readers.read(tmp_path / "a.dat")

        return hand_over

    def test_one_wide_in_no_unit_is_uncalibrated_and_not_one_metre(self, hand_over: Any) -> None:
        (image,) = hand_over(x={"data": np.eye(4)})
        assert image.pixel_size is None

    def test_infinite_images_are_refused(self, hand_over: Any) -> None:
        with pytest.raises(UnreadableFileError, match="all values of x are infinite"):
            hand_over(x={"data": np.full((4, 4), np.inf)})

    def test_no_channel_is_no_success(self, hand_over: Any) -> None:
        with pytest.raises(UnreadableFileError, match="converter finds no image in"):
            hand_over()

    def test_a_sensor_in_metres_that_are_volts_has_no_unit(self, hand_over: Any) -> None:
        (image,) = hand_over(ZSensor={"data": np.eye(4) * 0.7, "si_unit_z": "m"})
        assert image.units == ""
        assert "more than any scanner can move" in image.notes[0]


@needs_samples
@pytest.mark.parametrize(
    "name", ["dm/test_STEM_image.dm3", "sem_tiff/saved_with_DM.tif", "sem_tiff/quanta_image.tif"]
)
def test_the_converter_is_never_asked_about_electron_microscopy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gwyddionpy = pytest.importorskip("gwyddionpy", reason="the extra [gwyddion] is not installed")

    def refuse(path: Path, timeout: float) -> None:
        raise AssertionError(path)

    monkeypatch.setattr(gwyddionpy, "load", refuse)
    try:
        (image,) = readers.read(SAMPLES / name)
    except UnreadableFileError as error:
        assert "tvtasks[em]" in str(error) or "no format" in str(error)
    else:
        assert "gwyddionpy" not in image.reader[0]
