import errno
import os

import pytest

from garl.atomic import remove_leftovers, replacing, writing
from garl.errors import GarlError


def test_the_file_changes_only_when_the_block_ends(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".txt")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("place", ["missing/file.txt", "a_file/file.txt", "a_folder"])
def test_where_nothing_can_be_written(tmp_path, place):
    (tmp_path / "a_file").touch()
    (tmp_path / "a_folder").mkdir()
    with pytest.raises(GarlError, match=f"cannot write .*{place}"), replacing(tmp_path / place) as temporary:
        temporary.write_text("new")


def test_a_refusal_names_the_file_and_what_to_see_to(tmp_path):
    said = r"cannot write .*page\.txt \(No space left on device\): .* its disk has room$"
    with pytest.raises(GarlError, match=said), writing(tmp_path / "page.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(ZeroDivisionError), writing(tmp_path):
        raise ZeroDivisionError


def test_only_the_temporary_files_of_killed_writers_are_removed(tmp_path):
    with replacing(tmp_path / "page.v2.txt") as temporary:
        temporary.write_text("half")
        left = tmp_path / temporary.name.replace("page", "other")
        left.write_text("half")
        kept = [tmp_path / name for name in (".hidden", ".0123abcd", "page.0123abcd.txt", ".page.0123abcx.txt")]
        for path in kept:
            path.write_text("mine")
    remove_leftovers(tmp_path)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "page.v2.txt"])
    remove_leftovers(tmp_path / "missing")
