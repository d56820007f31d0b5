import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tvtasks import readers
from tvtasks.errors import UnreadableFileError
from tvtasks.micrograph import Source, file_sha256

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "formats.md"

IMAGE = np.arange(48, dtype=np.uint16).reshape(6, 8)

SIGNATURES = [
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"BM",
    b"\x93NUMPY\x01\0",
]


class TestCandidates:
    @pytest.mark.parametrize("name", ["a.tif", "A.TIFF", "b.Png", "c.nxs", "scan 3.ome.tif", "d.npy"])
    def test_images_are_known_by_their_ending_in_any_case(self, name: str) -> None:
        assert readers.is_candidate(name)

    @pytest.mark.parametrize(
        "name",
        [
            "notes.txt",
            "Thumbs.db",
            "tif",
            "._a.tif",
            "~$a.tif",
            ".a.tif",
            "@eaDir/a.tif",
            ".a.nxs.partial-17",
            "a.tif.tmp",
        ],
    )
    def test_other_files_and_litter_are_not(self, name: str) -> None:
        assert not readers.is_candidate(Path("scans") / name)

    def test_asking_for_candidates_loads_no_library_of_a_format(self) -> None:
        program = (
            "import sys; from tvtasks.readers import endings, is_candidate; is_candidate('a.tif');"
            "print([name for name in ('h5py', 'tifffile', 'PIL', 'imagecodecs') if name in sys.modules])"
        )
        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert loaded.stdout.strip() == "[]"

    def test_a_file_that_is_what_its_name_says_loads_no_other_format(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", IMAGE)
        program = (
            f"import sys; from tvtasks.readers import read; read({str(tmp_path / 'a.npy')!r});"
            "print([name for name in ('h5py', 'tifffile', 'imagecodecs') if name in sys.modules])"
        )
        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert loaded.stdout.strip() == "[]"


class TestRead:
    def test_says_where_the_image_came_from(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, IMAGE)
        (micrograph,) = readers.read(str(path))
        assert micrograph.source is not None
        assert micrograph.source.path == path
        assert micrograph.source.sha256 == file_sha256(path)
        assert micrograph.reader == ("tifffile", tifffile.__version__)

    def test_goes_by_content_where_the_name_is_wrong(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        tifffile.imwrite(path, IMAGE)
        np.testing.assert_array_equal(readers.read(path)[0].data, IMAGE)

    def test_upper_case_suffix(self, tmp_path: Path) -> None:
        path = tmp_path / "A.TIF"
        tifffile.imwrite(path, IMAGE)
        np.testing.assert_array_equal(readers.read(path)[0].data, IMAGE)

    @pytest.mark.parametrize("suffix", sorted(readers.endings()))
    def test_text_named_like_an_image_is_refused(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"notes{suffix}"
        path.write_text("Tip changed at 14:03.\n" * 5)
        assert readers.unfinished(path) is None
        with pytest.raises(UnreadableFileError, match=rf"notes{suffix} is named like .* but it is not one"):
            readers.read(path)

    def test_an_unknown_format_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        path = tmp_path / "a.xyz"
        path.write_bytes(b"unknown")
        with pytest.raises(UnreadableFileError, match=r"a\.xyz is not in a format .*Export it"):
            readers.read(path)

    def test_a_missing_file_a_folder_and_an_empty_file_are_told_apart(self, tmp_path: Path) -> None:
        (tmp_path / "empty.tif").touch()
        with pytest.raises(UnreadableFileError, match=r"missing\.tif does not exist"):
            readers.read(tmp_path / "missing.tif")
        with pytest.raises(UnreadableFileError, match="is a folder"):
            readers.read(tmp_path)
        with pytest.raises(UnreadableFileError, match=r"empty\.tif is empty"):
            readers.read(tmp_path / "empty.tif")

    def test_what_a_library_says_of_a_damaged_file_becomes_a_sentence(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, np.tile(IMAGE, (9, 9)), compression="zlib")
        content = bytearray(path.read_bytes())
        content[-40:] = bytes(40)
        path.write_bytes(content)
        with pytest.raises(
            UnreadableFileError, match=r"a\.tif cannot be read as a TIFF file: .*save it again"
        ) as caught:
            readers.read(path)
        assert caught.value.__cause__ is not None

    def test_a_file_that_changes_while_it_is_read_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.npy"
        np.save(path, IMAGE)

        describe = Source.of

        def describe_and_append(path: Path) -> Source:
            source = describe(path)
            with path.open("ab") as file:
                file.write(b"more")
            return source

        monkeypatch.setattr(Source, "of", describe_and_append)
        with pytest.raises(UnreadableFileError, match="changed while it was being read"):
            readers.read(path)


def packages_of(folder: Path) -> dict[str, str]:
    """Install, by hand, the package that docs/formats.md shows; return the environment that finds it."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCUMENTATION.read_text(encoding="utf-8"), re.DOTALL)
    (project,) = (tomllib.loads(text) for language, text in blocks if language == "toml")
    (module,) = (text for language, text in blocks if language == "python")
    (folder / "ourlab_reader.py").write_text(module, encoding="utf-8")
    information = folder / "ourlab_reader-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: ourlab-reader\nVersion: 1.0\n")
    points = project["project"]["entry-points"]["tvtasks.readers"]
    lines = ["[tvtasks.readers]", *(f"{name} = {value}" for name, value in points.items())]
    (information / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}


def answer(program: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class TestOtherPackages:
    def test_the_example_in_the_documentation_reads_its_files(self, tmp_path: Path) -> None:
        environment = packages_of(tmp_path)
        values = np.arange(12, dtype="<f4").reshape(3, 4)
        (tmp_path / "a.ourlab").write_bytes(
            b"OURLAB1\0" + np.array([3, 4], "<u4").tobytes() + values.tobytes()
        )
        (tmp_path / "short.ourlab").write_bytes((tmp_path / "a.ourlab").read_bytes()[:-4])
        program = (
            "import sys; from tvtasks import readers; candidate = readers.is_candidate('a.ourlab');"
            "loaded = 'ourlab_reader' in sys.modules;"
            f"(image,) = readers.read({str(tmp_path / 'a.ourlab')!r});"
            "print(candidate, loaded, image.data.tolist(), image.pixel_size, image.units,"
            f"readers.unfinished({str(tmp_path / 'short.ourlab')!r}))"
        )
        expected = f"True False {values.tolist()} (1e-09, 1e-09) m it ends after 60 of 64 bytes"
        assert answer(program, environment) == expected

    def test_a_broken_one_is_named_and_spoils_only_its_own_files(self, tmp_path: Path) -> None:
        environment = packages_of(tmp_path)
        (tmp_path / "ourlab_reader.py").write_text("import missing_library\n")
        (tmp_path / "a.ourlab").write_bytes(b"OURLAB1\0")
        np.save(tmp_path / "a.npy", IMAGE)
        (tmp_path / "a.npy").rename(tmp_path / "a.tif")
        program = (
            "from tvtasks import readers\n"
            f"print(len(readers.read({str(tmp_path / 'a.tif')!r})))\n"
            f"print(readers.incomplete({str(tmp_path / 'a.ourlab')!r}))\n"
            f"try: readers.read({str(tmp_path / 'a.ourlab')!r})\n"
            "except readers.UnreadableFileError as error: print(error)"
        )
        images, missing, sentence = answer(program, environment).splitlines()
        assert (images, missing) == ("1", "None")
        assert "package ourlab-reader, which reads files like" in sentence
        assert "a.ourlab, cannot be loaded: No module named 'missing_library'" in sentence


class TestUnfinished:
    def test_an_empty_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        path.touch()
        assert readers.unfinished(path) == "it is empty"

    def test_reserved_space(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tif"
        path.write_bytes(bytes(5000))
        assert "reserved" in str(readers.unfinished(path))

    def test_what_is_no_file_is_not_unfinished(self, tmp_path: Path) -> None:
        assert readers.unfinished(tmp_path / "missing.tif") is None
        assert readers.unfinished(tmp_path) is None

    def test_reading_refuses_what_is_unfinished(self, tmp_path: Path) -> None:
        path = tmp_path / "a.npy"
        np.save(path, IMAGE)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(
            UnreadableFileError, match=r"a\.npy is incomplete: it ends after 223 of 224 bytes"
        ):
            readers.read(path)

    @given(st.sampled_from([*SIGNATURES, b"\x89HDF\r\n\x1a\n", b""]), st.binary(max_size=200))
    def test_rubbish_raises_nothing_but_a_sentence(
        self, tmp_path_factory: pytest.TempPathFactory, signature: bytes, rest: bytes
    ) -> None:
        path = tmp_path_factory.getbasetemp() / "rubbish.tif"
        path.write_bytes(signature + rest)
        readers.unfinished(path)
        with pytest.raises(UnreadableFileError):
            readers.read(path)
