import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import chexus
import h5py
import numpy as np
import pytest
from nexusformat.nexus import nxload
from nexusformat.nexus.validate import validate_file

from tvtasks import Micrograph, Recipe, Restoration, readers, restore, synthetic
from tvtasks.archive import Storage, load, write
from tvtasks.archive.verification import check
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Region, array_sha256

HUBER = {"model": "huber-rof", "lam": 0.5}
TVL1 = {"model": "tv-l1", "lam": 1.0, "stop": {"rtol": 1e-2}}
RECIPES: dict[str, dict[str, Any]] = {
    "background": {"background": HUBER},
    "background and median": {"background": HUBER, "median": {}},
    "background and contrast": {"background": HUBER, "contrast": HUBER, "scale": 0.5},
    "background and denoising": {"background": HUBER | {"direction": "x"}, "denoise": TVL1},
    "all steps": {"background": HUBER, "median": {}, "contrast": HUBER, "denoise": TVL1},
    "denoising": {"denoise": TVL1},
    "published rule": {"denoise": TVL1 | {"stop": {"rule": "published", "max_iterations": 200}}},
    "median": {"median": {"rows": 5}},
}
RAMP = np.arange(24 * 32).reshape(24, 32) % 97
IMAGES = {
    "float64": Micrograph(RAMP * 0.1, units="nA"),
    "float32": Micrograph(RAMP.astype(np.float32), pixel_size=(1e-8, 1e-8)),
    "float16": Micrograph(RAMP.astype(np.float16)),
    "uint8": Micrograph(RAMP.astype(np.uint8), units="counts", pixel_size=(5e-6, 4e-6)),
    "uint16": Micrograph(RAMP.astype(np.uint16), pixel_size=(2.0, 2.0), pixel_unit="1/nm"),
    "int32": Micrograph(RAMP.astype(np.int32) - 50),
    "uint64": Micrograph(RAMP.astype(np.uint64) * 2**57),
    "bool": Micrograph(RAMP > 48),
    "big-endian": Micrograph(RAMP.astype(">u2")),
    "unfinished scan": Micrograph(np.where(np.arange(24)[:, None] < 20, RAMP * 0.1, np.nan)),
    "data bar": Micrograph(RAMP * 0.1, valid=Region(0, 20, 1, 31)),
    "one row": Micrograph(RAMP[:1] * 0.1, pixel_size=(1e-9, 1e-9)),
    "one column": Micrograph(RAMP[:, :1] * 0.1),
    "wide": Micrograph(np.resize(RAMP, (3, 700)).astype(np.uint8)),
    "odd text": Micrograph(RAMP * 0.1, channel="Z\0\ud800" + "µ" * 70_000, units="\udcb5m\0", quantity="µ"),
}


def assert_valid(path: Path) -> None:
    assert validate_file(str(path)) == (0, 0)
    tree = chexus.read_hdf5(str(path))
    found = chexus.validate(next(tree), validators=chexus.validators.base_validators(has_scipp=False))
    tree.close()
    assert not chexus.has_violations(found), chexus.report(found)


class TestValidators:
    @pytest.mark.parametrize("kind", RECIPES)
    def test_nothing_is_wrong_whatever_the_recipe(
        self, kind: str, micrograph: Micrograph, tmp_path: Path
    ) -> None:
        restoration = restore(micrograph, Recipe.model_validate(RECIPES[kind]))
        path = write(restoration, tmp_path, storage=Storage(exact=True))
        assert_valid(path)
        assert_valid(write(restoration, tmp_path / "lean"))
        plot = nxload(path).plottable_data
        np.testing.assert_array_equal(plot.nxsignal.nxvalue, restoration.restored)
        assert set(load(path).record["arrays"]) == {
            name
            for name in ("background", "flat", "contrast", "restored")
            if getattr(restoration, name) is not None
        } | {"raw"}

    @pytest.mark.parametrize("kind", IMAGES)
    def test_nothing_is_wrong_whatever_the_image(self, kind: str, tmp_path: Path) -> None:
        restoration = restore(IMAGES[kind], Recipe.model_validate(RECIPES["background and median"]))
        assert_valid(write(restoration, tmp_path))


class TestStockHDF5:
    @pytest.mark.skipif(
        shutil.which("h5dump") is None, reason="the HDF5 command line tools are not installed"
    )
    @pytest.mark.parametrize("name", ["raw", "background", "restored"])
    def test_values_are_read_without_plugins(
        self, name: str, restoration: Restoration, tmp_path: Path
    ) -> None:
        path = write(restoration, tmp_path)
        about = load(path).record["arrays"][name]
        out = tmp_path / "values"
        subprocess.run(
            ["h5dump", "-d", about["path"], "-b", "LE", "-o", out, path], check=True, capture_output=True
        )
        values = np.fromfile(out, np.dtype(about["dtype"]).newbyteorder("<")).reshape(about["shape"])
        assert array_sha256(values) == about["sha256"]

    @pytest.mark.skipif(
        shutil.which("h5dump") is None, reason="the HDF5 command line tools are not installed"
    )
    def test_every_number_and_every_text_is_read_without_plugins(
        self, restoration: Restoration, tmp_path: Path
    ) -> None:
        path = write(restoration, tmp_path)
        numbers: dict[str, tuple[bytes, str]] = {}
        texts: dict[str, str] = {}

        def note(name: str, thing: Any) -> None:
            if isinstance(thing, h5py.Dataset):
                value = thing[()]
                if isinstance(value, bytes):
                    texts[f"/{name}"] = value.decode()
                else:
                    little = thing.dtype.newbyteorder("<")
                    numbers[f"/{name}"] = (np.asarray(value, little).tobytes(), f"{thing.dtype}")

        with h5py.File(path) as file:
            file.visititems(note)
        assert len(numbers) > 50
        out = tmp_path / "values"
        for name, (value, kind) in numbers.items():
            command = ["h5dump", "-d", name, "-b", "LE", "-o", out, path]
            subprocess.run(command, check=True, capture_output=True)
            assert out.read_bytes() == value, f"{name} ({kind})"
        told = subprocess.run(["h5dump", path], check=True, capture_output=True).stdout.decode()
        for name, text in texts.items():
            line = text.splitlines()[0] if text else ""
            assert line.split('"')[0][:60] in told, name

    def test_datasets_are_compressed_and_checked_in_small_chunks(self, tmp_path: Path) -> None:
        restoration = restore(IMAGES["wide"], Recipe.model_validate(RECIPES["median"]))
        with h5py.File(write(restoration, tmp_path)) as file:
            data = file["entry/raw/data"]
            assert data.chunks == (3, 512)
            assert (data.compression, data.compression_opts) == ("gzip", 4)
            assert data.shuffle
            assert data.fletcher32


class TestTree:
    def test_every_step_is_a_process_with_its_parameters_and_outputs(
        self, restoration: Restoration, tmp_path: Path
    ) -> None:
        with h5py.File(write(restoration, tmp_path)) as file:
            entry = file["entry"]
            names = [name for name in entry if name.startswith("process")]
            assert names == [
                "process_01_background",
                "process_02_median",
                "process_03_contrast",
                "process_04_denoise",
            ]
            assert [entry[name]["sequence_index"][()] for name in names] == [1, 2, 3, 4]
            parameters = entry["process_04_denoise/parameters"]
            assert parameters["lam"][()] == 1.0
            assert parameters["stop_rtol"][()] == 1e-2
            assert parameters["stop_max_iterations"][()] == 50_000  # a default
            assert "flat" in entry["process_01_background"]
            assert "contrast" in entry["process_03_contrast"]
            assert entry.attrs["default"] == "process_04_denoise"

    def test_convergence_can_be_plotted(self, restoration: Restoration, tmp_path: Path) -> None:
        how = restoration.steps[-1].convergence
        assert how
        assert how.history
        with h5py.File(write(restoration, tmp_path)) as file:
            process = file["entry/process_04_denoise"]
            np.testing.assert_array_equal(
                process["convergence/energy"], [look.energy for look in how.history]
            )
            np.testing.assert_array_equal(
                process["convergence/relative_gap"], [look.gap for look in how.history]
            )
            assert process["outcome/relative_gap"][()] == how.gap
            assert process["outcome/converged"][()] == 1

    def test_an_infinite_gap_is_archived(self, restoration: Restoration, tmp_path: Path) -> None:
        last = restoration.steps[-1]
        assert last.convergence
        unproven = replace(last, convergence=replace(last.convergence, gap=float("inf")))
        path = write(replace(restoration, steps=(*restoration.steps[:-1], unproven)), tmp_path)
        convergence = load(path).record["steps"][-1]["convergence"]
        assert convergence["gap"] is None
        assert convergence["gap_is"].startswith("infinite")
        assert_valid(path)

    @pytest.mark.parametrize(
        ("pixel_size", "pixel_unit", "unit", "step"),
        [
            ((2e-10, 1e-10), "m", "nm", (0.2, 0.1)),
            ((5e-6, 4e-6), "m", "um", (5.0, 4.0)),
            ((0.5, 0.25), "1/nm", "1/nm", (0.5, 0.25)),
            (None, "m", "", (1.0, 1.0)),
        ],
    )
    def test_axes_count_from_the_lower_left_corner_of_the_raw_image(
        self, pixel_size: tuple, pixel_unit: str, unit: str, step: tuple, tmp_path: Path
    ) -> None:
        cropped = replace(
            IMAGES["data bar"], valid=Region(3, 20, 1, 31), pixel_size=pixel_size, pixel_unit=pixel_unit
        )
        restoration = restore(cropped, Recipe.model_validate(RECIPES["median"]))
        with h5py.File(write(restoration, tmp_path)) as file:
            restored = file["entry/process_01_median/restored"]
            np.testing.assert_allclose(file["entry/raw/y"], np.arange(24)[::-1] * step[0])
            np.testing.assert_allclose(restored["y"], np.arange(20, 3, -1) * step[0])
            np.testing.assert_allclose(restored["x"], np.arange(1, 31) * step[1])
            assert restored["x"].attrs["units"] == unit
            assert restored["x"].attrs["long_name"] == f"x ({unit or 'px'})"

    def test_raw_is_background_plus_flat(self, restoration: Restoration, tmp_path: Path) -> None:
        run = load(write(restoration, tmp_path))
        assert run.background is not None
        assert run.flat is not None
        np.testing.assert_allclose(run.background + run.flat, run.raw[run.region.slices], rtol=1e-15)

    def test_it_is_not_read_as_an_image_of_a_microscope(
        self, restoration: Restoration, tmp_path: Path
    ) -> None:
        with pytest.raises(UnreadableFileError, match="use tvtasks rerun"):
            readers.read(write(restoration, tmp_path))

    def test_provenance_is_there_as_prov_json(self, restoration: Restoration, tmp_path: Path) -> None:
        with h5py.File(write(restoration, tmp_path)) as file:
            note = file["entry/process_04_denoise/prov"]
            blob = note["data"][()].tobytes()
            assert note["checksum"].asstr()[()] == hashlib.sha256(blob).hexdigest()
        document = json.loads(blob)
        assert document["entity"]["run:source"]["prov:label"] == "terraces.sxm"
        made = {(item["prov:entity"], item["prov:activity"]) for item in document["wasGeneratedBy"].values()}
        assert made == {
            ("run:background", "run:background_step"),
            ("run:flat", "run:background_step"),
            ("run:contrast", "run:contrast_step"),
            ("run:restored", "run:denoise_step"),
        }
        named = document["entity"].keys() | document["activity"].keys() | document["agent"].keys()
        for relation in ("used", "wasAssociatedWith", "wasInformedBy", "wasGeneratedBy", "wasDerivedFrom"):
            for item in document[relation].values():
                assert set(item.values()) <= named


class TestAuto:
    @pytest.fixture(scope="class")
    @staticmethod
    def chosen() -> Restoration:
        recipe = {
            "background": {"model": "huber-rof", "lam": "auto"},
            "contrast": {"model": "huber-rof", "lam": "auto"},
            "denoise": {"model": "tv-l1", "lam": "auto"},
        }
        scan = synthetic.afm_lattice_scan(3, (96, 96))
        return restore(Micrograph(scan.recorded, units="m"), Recipe.model_validate(recipe))

    @pytest.fixture
    def path(self, chosen: Restoration, tmp_path: Path) -> Path:
        return write(chosen, tmp_path)

    def test_validators_find_nothing_and_the_seal_holds(self, path: Path) -> None:
        assert_valid(path)
        assert check(path) == []

    def test_choices_come_back_with_their_curves(self, path: Path, chosen: Restoration) -> None:
        found = load(path).choices
        assert found.keys() == chosen.choices.keys()
        for name, choice in chosen.choices.items():
            assert (found[name].lam, found[name].words) == (choice.lam, choice.words)
            np.testing.assert_allclose(found[name].values, choice.values, rtol=1e-5)
        with h5py.File(path) as file:
            curve = file["entry/process_01_background/choice_curve"]
            lams, values = curve["lam"][()], curve["expected_error"][()]
            assert lams[values.argmin()] == pytest.approx(chosen.choices["background"].lam, rel=0.2)
            assert file["entry/process_01_background/parameters/lam"][()] == pytest.approx(
                file["entry/process_01_background/choice/lam"][()], rel=1e-3
            )

    def test_scores_are_those_of_the_restoration_in_its_unit(self, path: Path, chosen: Restoration) -> None:
        with h5py.File(path) as file:
            scores = file["entry/quality"]
            for name, value in chosen.quality.record.items():
                assert (name in scores) == (value is not None)
                if value is not None:
                    assert scores[name][()] == value
            assert scores["line_jumps_after"].attrs["units"] == "m"

    @pytest.mark.parametrize("place", ["quality/line_jumps_after", "process_01_background/choice_curve/lam"])
    def test_a_changed_number_is_noticed_without_the_seal(self, path: Path, place: str) -> None:
        with h5py.File(path, "r+") as file:
            del file["entry/seal"]
            file[f"entry/{place}"][...] = 1.0
        assert any(place in finding.message for finding in check(path))
