"""Sealed files: what was written is read back, and anything else is set aside with one line that names the file."""

import json
import warnings

import pytest

from paperlib.repro import sealed_file
from paperlib.repro.sealed_file import SetAsideWarning

ABOUT = {"kind": "test", "plan": {"steps": 3, "compiled": True}}
CONTENT = {"step": 12, "weights": [0.5, float("inf")]}


def write(path, about=ABOUT, content=CONTENT):
    sealed_file.write(path, about, lambda file: file.write(json.dumps(content).encode()))


def read(path, about=ABOUT):
    return sealed_file.read(path, about, json.load)


def assert_set_aside(path, match, about=ABOUT, load=json.load):
    """The file at `path` is not used, one line says so, and there is nothing to read the next time."""
    with pytest.warns(SetAsideWarning, match=match) as caught:
        assert sealed_file.read(path, about, load) is None
    assert len(caught) == 1 and str(path) in str(caught[0].message) and "\n" not in str(caught[0].message)
    assert not path.exists() and path.with_name(f"{path.name}.unusable").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(path) is None


def test_what_was_written_is_read_and_a_later_file_replaces_an_earlier_one(tmp_path):
    path = tmp_path / "folder" / "checkpoint"
    assert read(path) is None
    for content in (CONTENT, {"step": 13}):
        write(path, content=content)
        assert read(path) == content
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint"]


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path = tmp_path / "checkpoint"
    write(path)
    intact = path.read_bytes()
    for byte in range(len(intact)):
        damaged = bytearray(intact)
        damaged[byte] ^= 1 << byte % 8
        path.write_bytes(damaged)
        assert_set_aside(path, "damaged|another format")


@pytest.mark.parametrize("length", [0, 1, 22, 23, 80, 88, -1])
def test_a_truncated_file_is_set_aside(tmp_path, length):
    path = tmp_path / "checkpoint"
    write(path)
    path.write_bytes(path.read_bytes()[:length])
    assert_set_aside(path, "damaged|another format")


def test_a_page_of_zeros_a_foreign_file_and_a_link_to_itself_are_set_aside(tmp_path):
    path = tmp_path / "checkpoint"
    write(path, content={"long": "x" * 20000})
    content = bytearray(path.read_bytes())
    content[8192:12288] = bytes(4096)
    path.write_bytes(content)
    assert_set_aside(path, "does not match its checksum")
    path.write_bytes(json.dumps(CONTENT).encode())
    assert_set_aside(path, "another format")
    path.symlink_to(path)
    with pytest.warns(SetAsideWarning, match="cannot be read"):
        assert read(path) is None
    assert not path.is_symlink()


def test_a_file_about_something_else_is_set_aside_and_the_difference_named(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint"
    write(path)
    assert_set_aside(path, "plan.compiled was true, is false", about=ABOUT | {"plan": {"steps": 3, "compiled": False}})
    write(path)
    monkeypatch.setattr(sealed_file.metadata, "version", lambda package: "99.0")
    assert_set_aside(path, 'versions.torch was "[0-9.a-z+]*", is "99.0"')


def test_a_content_that_cannot_be_loaded_is_set_aside_with_what_is_wrong(tmp_path):
    path = tmp_path / "checkpoint"
    write(path)
    assert_set_aside(path, r"cannot be read \(KeyError: 'replay'\)", load=lambda file: json.load(file)["replay"])


def test_what_a_killed_writer_left_is_removed_and_the_earlier_file_counts(tmp_path):
    path = tmp_path / "checkpoint"
    write(path)
    (tmp_path / "checkpoint.partial").write_bytes(path.read_bytes()[:50])
    assert read(path) == CONTENT
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_a_lack_of_memory_is_no_fault_of_the_file(tmp_path):
    path = tmp_path / "checkpoint"
    write(path)

    def too_large(file):
        raise MemoryError

    with pytest.raises(MemoryError):
        sealed_file.read(path, ABOUT, too_large)
    assert read(path) == CONTENT
