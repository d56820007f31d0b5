import h5py
import pytest

from tvtasks.errors import ArchiveError, ConfigurationError
from tvtasks.files import whole, write_whole


class TestWhole:
    def test_a_file_and_its_folder_appear_with_all_of_it(self, tmp_path):
        target = tmp_path / "new" / "page.html"
        with whole(target) as partial:
            partial.write_bytes(b"half")
            assert not target.exists()
            partial.write_bytes(b"all of it")
        assert target.read_bytes() == b"all of it"
        assert list(target.parent.iterdir()) == [target]

    def test_after_an_error_the_old_one_is_as_it_was(self, tmp_path):
        target = tmp_path / "page.html"
        write_whole(target, b"old")

        def fail():
            with whole(target) as partial:
                partial.write_bytes(b"half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            fail()
        assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(target, b"old")]

    def test_hdf5_can_be_written_there(self, tmp_path):
        target = tmp_path / "all.nxs"
        with whole(target) as partial, h5py.File(partial, "w") as file:
            file["x"] = 1
        with h5py.File(target) as file:
            assert file["x"][()] == 1

    def test_what_may_not_be_replaced_is_not_touched(self, tmp_path):
        target = tmp_path / "page.html"
        target.write_bytes(b"old")
        with pytest.raises(ConfigurationError, match="exists already"):
            write_whole(target, b"new", overwrite=False)
        with pytest.raises(ConfigurationError, match="is a folder"):
            write_whole(tmp_path, b"new")
        assert target.read_bytes() == b"old"

    def test_where_nothing_can_be_written_is_said(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(ArchiveError, match="cannot be written"):
            write_whole(tmp_path / "file" / "page.html", b"new")
