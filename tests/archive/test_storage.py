"""Sample data, and the NXem that comes of it; the oracles are nexusformat and chexus."""

import logging
import re
import shutil
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import chexus
import h5py
import numpy as np
import pytest
from nexusformat.nexus.validate import validate_application, validate_file
from pydantic import ValidationError

from tests.archive.test_layout import assert_valid
from tvtasks import Restoration
from tvtasks.archive import Sample, Storage, load, run_id, summary, write
from tvtasks.archive.collect import collect
from tvtasks.archive.definitions import missing
from tvtasks.archive.session import Session
from tvtasks.archive.verification import check, recompute
from tvtasks.errors import ConfigurationError

SAMPLE = Sample(
    name="Gold on carbon",
    atom_types=("Au", "C"),
    preparation_date="2024-04-30",
    physical_form="thin_film",
    identifier_sample="lab:7",
)
TOML = 'name = "Gold on carbon"\natom_types = ["Au", "C"]\npreparation_date = 2024-04-30\n'


@pytest.fixture
def electrons(restoration: Restoration) -> Restoration:
    return replace(restoration, micrograph=replace(restoration.micrograph, technique="SEM"))


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What nexusformat warned of or called wrong: the path, and the sentence that follows it."""
    text = re.sub("\x1b\\[[0-9;]*m", "", "\n".join(record.getMessage() for record in caplog.records))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return [
        f"{lines[number - 1]} {line}" for number, line in enumerate(lines) if re.match("This .* not ", line)
    ]


class TestNXem:
    def test_an_image_of_an_electron_microscope_is_one(
        self, electrons: Restoration, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = write(electrons, tmp_path, storage=Storage(sample=SAMPLE))
        tree = chexus.read_hdf5(str(path))
        found = chexus.validate(next(tree), validators=chexus.validators.base_validators(has_scipp=False))
        tree.close()
        assert not chexus.has_violations(found), chexus.report(found)
        # Two fields that NXem demands are not in the base class that it demands them in.
        with caplog.at_level(logging.WARNING):
            assert validate_file(str(path)) == (2, 0)
        unknown = "This field is not defined in NXsample"
        assert warned(caplog) == [
            f"Field: /entry/sample/{name} {unknown}" for name in ("atom_types", "is_simulation")
        ]
        assert check(path) == []

    @pytest.mark.parametrize("missing", ["", "atom_types", "is_simulation", "preparation_date"])
    def test_the_definition_misses_nothing_that_it_demands(
        self, electrons: Restoration, tmp_path: Path, missing: str
    ) -> None:
        """`sampleID` stands for any name with `sample`; nexusformat takes it by the letter."""
        path = write(electrons, tmp_path, storage=Storage(sample=SAMPLE))
        with h5py.File(shutil.copy(path, tmp_path / "copy.nxs"), "r+") as file:
            assert file["entry/definition"].asstr()[()] == "NXem"
            file.move("entry/sample", "entry/sampleID")
            if missing:
                del file[f"entry/sampleID/{missing}"]
        assert validate_application(str(tmp_path / "copy.nxs"))[1] == bool(missing)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"technique": "STM"}, r"NXspm needs the operator \(--operator\)"),
            ({"technique": "LEEM"}, "no definition is for images of LEEM"),
            ({"technique": None}, "does not name a microscope"),
            ({"acquired_at": None}, "needs the time of acquisition"),
        ],
    )
    def test_what_cannot_be_one_has_its_sample_all_the_same(
        self, electrons: Restoration, tmp_path: Path, changes: dict, why: str
    ) -> None:
        micrograph = replace(electrons.micrograph, **changes)
        assert re.search(why, missing({"image": vars(micrograph)}))
        path = write(replace(electrons, micrograph=micrograph), tmp_path, storage=Storage(sample=SAMPLE))
        assert_valid(path)
        assert check(path) == []
        with h5py.File(path) as file:
            assert "definition" not in file["entry"]
            assert file["entry/sample/name"].asstr()[()] == "Gold on carbon"
            assert file["entry/sample/details/atom_types"].asstr()[()] == "Au, C"

    def test_without_sample_data_there_is_none(self, electrons: Restoration, tmp_path: Path) -> None:
        path = write(electrons, tmp_path)
        assert_valid(path)
        with h5py.File(path) as file:
            assert not {"definition", "sample"} & set(file["entry"])
        assert summary(path)["sample"] is None


def _plots(entry: h5py.Group) -> list[str]:
    """Paths of the plots in an entry."""
    found: list[str] = []
    entry.visititems(
        lambda name, thing: found.append(name) if thing.attrs.get("NX_class") == "NXdata" else None
    )
    return found


class TestNXspm:
    @pytest.fixture
    def scan(self, restoration: Restoration) -> Restoration:
        changes = {"technique": "STM", "reader": ("tvtasks", "nanonis"), "pixel_unit": "m"}
        return replace(restoration, micrograph=replace(restoration.micrograph, **changes))

    def test_a_scan_whose_operator_is_known_is_one(
        self, scan: Restoration, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        storage = Storage(sample=SAMPLE, session=Session(operator="Jo Meier"))
        path = write(scan, tmp_path, storage=storage)
        # The release contradicts itself: NXspm demands both where the base classes do not have them.
        with caplog.at_level(logging.WARNING):
            assert validate_file(str(path)) == (1, 1)
        assert warned(caplog) == ["Field: /entry/experiment_technique This field is not defined in NXentry"]
        assert "NXspm_scan_control is an invalid class in NXenvironment" in caplog.text
        assert check(path) == []
        (again,) = recompute(path)
        assert "bit for bit" in again.message
        with h5py.File(path) as file:
            entry = file["entry"]
            assert entry["definition"].asstr()[()] == "NXspm"
            control = entry["instrument/scan_environment/scan_control"]
            columns = scan.micrograph.data.shape[1]
            assert control["mesh_scan/scan_points_x"][()] == columns
            dx = (scan.micrograph.pixel_size or (0.0, 0.0))[1]
            region = control["scan_region"]
            width = abs(region["scan_end_x"][()] - region["scan_start_x"][()])
            assert width == pytest.approx((columns - 1) * dx)
            assert entry["instrument/hardware/vendor"].asstr()[()] == "Nanonis"
            assert entry["sample/details/atom_types"].asstr()[()] == "Au, C"
            name = next(name for name in entry["reproducibility_indicators"] if "process" in name)
            assert entry[f"reproducibility_indicators/{name}/relative_gap"][()] < 1e-2
        (name,) = collect([path], tmp_path / "several.nxs")
        assert not any(found.is_fault for found in check(tmp_path / "several.nxs"))

    @pytest.mark.parametrize(
        "missing",
        [
            "",
            "user",
            "instrument/hardware/vendor",
            "experiment_technique",
            "instrument/SCAN_ENVIRONMENT/scan_control/scan_region/scan_end_y",
        ],
    )
    def test_the_definition_misses_nothing_that_it_demands(
        self, scan: Restoration, tmp_path: Path, missing: str
    ) -> None:
        """Some names stand for any; nexusformat takes them by the letter."""
        path = write(scan, tmp_path, storage=Storage(session=Session(operator="Jo Meier")))
        with h5py.File(path, "r+") as file:
            entry = file["entry"]
            entry.move("instrument/scan_environment", "instrument/SCAN_ENVIRONMENT")
            control = entry["instrument/SCAN_ENVIRONMENT/scan_control"]
            control.move("mesh_scan", "meshSCAN")
            for group in (entry[name] for name in _plots(entry)):
                group["DATA"], group["AXISNAME"] = np.zeros(2), np.zeros(2)
            place, _, attribute = missing.partition("@")
            if attribute:
                del entry[place].attrs[attribute]
            elif missing:
                del entry[missing]
        assert validate_application(str(path))[1] == bool(missing)

    @pytest.mark.parametrize(
        ("changes", "operator", "why"),
        [
            ({}, "", "the operator"),
            ({"pixel_size": None}, "Jo", "the pixel size in metres"),
            ({"reader": ("tifffile", "1")}, "Jo", "the vendor"),
        ],
    )
    def test_what_lacks_something_follows_no_definition(
        self, scan: Restoration, tmp_path: Path, changes: dict, operator: str, why: str
    ) -> None:
        scan = replace(scan, micrograph=replace(scan.micrograph, **changes))
        session = Session(operator=operator)
        assert why in missing({"image": vars(scan.micrograph), "session": vars(session)})
        path = write(scan, tmp_path, storage=Storage(session=session))
        assert_valid(path)
        with h5py.File(path) as file:
            assert not {"definition", "instrument", "experiment_technique"} & set(file["entry"])


class TestInTheFile:
    def test_it_changes_no_run_id_and_is_in_the_record(self, electrons: Restoration, tmp_path: Path) -> None:
        run = load(write(electrons, tmp_path, storage=Storage("none", SAMPLE)))
        assert run.record["run_id"] == run_id(electrons.micrograph, electrons.recipe)
        assert Sample(**run.record["sample"]) == SAMPLE

    @pytest.mark.parametrize(
        "name", ["sample/name", "sample/atom_types", "sample/preparation_date", "definition"]
    )
    def test_a_change_is_named(self, electrons: Restoration, tmp_path: Path, name: str) -> None:
        path = write(electrons, tmp_path, storage=Storage(sample=SAMPLE))
        with h5py.File(path, "r+") as file:
            file[f"entry/{name}"][()] = "Ag"
        (found,) = check(path)
        assert found.what == f"/entry/{name}"

    def test_a_collected_file_keeps_it(self, electrons: Restoration, tmp_path: Path) -> None:
        path = write(electrons, tmp_path, storage=Storage(sample=SAMPLE))
        (name,) = collect([path], tmp_path / "several.nxs")
        with h5py.File(tmp_path / "several.nxs") as file:
            assert file[f"{name}/sample/atom_types"].asstr()[()] == "Au, C"
        assert Sample(**summary(tmp_path / "several.nxs")["sample"]) == SAMPLE
        assert not any(found.is_fault for found in check(tmp_path / "several.nxs"))


class TestSample:
    def test_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "gold.toml").write_text(f"\ufeff{TOML}is_simulation = true\n", "utf-8")
        found = Sample.load(tmp_path / "gold.toml")
        assert (found.name, found.atom_types, found.preparation_date) == (
            "Gold on carbon",
            ("Au", "C"),
            "2024-04-30",
        )
        assert found.is_simulation

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            (date(2024, 4, 30), "2024-04-30"),
            (datetime(2024, 4, 30, 12, tzinfo=UTC), "2024-04-30T12:00:00+00:00"),
            ("2024-04-30T14:00:00+02:00", "2024-04-30T14:00:00+02:00"),
        ],
    )
    def test_times_of_preparation(self, given: date | str, kept: str) -> None:
        assert replace(SAMPLE, preparation_date=given).preparation_date == kept  # type: ignore[arg-type]

    def test_elements_as_one_text(self) -> None:
        assert replace(SAMPLE, atom_types="Si, O").atom_types == ("Si", "O")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (("= [", "= 3 #"), "atom_types = 3 is not allowed"),
            (('"Au"', '"Xx"'), "it contains 'Xx'; use symbols of elements"),
            (('["Au", "C"]', "[]"), "at least 1 item"),
            (
                ("2024-04-30", "2024-04-30T12:00:00"),
                "2024-04-30T12:00:00' is not allowed: it should have an",
            ),
            (("2024-04-30", '"last May"'), "should be a date such as"),
            (("2024-04-30", '"2024-04-30Tnoon"'), "should be a date such as"),
            (("name", "nmae"), "name is missing. nmae is an unknown key"),
            (("name =", "name"), "is not valid TOML"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, change: tuple[str, str], told: str) -> None:
        path = tmp_path / "gold.toml"
        path.write_text(TOML.replace(*change, 1), "utf-8")
        with pytest.raises(ConfigurationError, match=r"^Sample data .*gold\.toml") as error:
            Sample.load(path)
        assert told in str(error.value)

    @pytest.mark.parametrize("content", [b"\xff\xfe", None])
    def test_no_text_and_no_file(self, tmp_path: Path, content: bytes | None) -> None:
        if content:
            (tmp_path / "gold.toml").write_bytes(content)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            Sample.load(tmp_path / "gold.toml")


def test_another_way_of_packing_is_refused() -> None:
    with pytest.raises(ValidationError):
        Storage("rar")  # type: ignore[arg-type]
