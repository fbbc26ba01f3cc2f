"""Files and locks where the system has no locks of our kind, as Windows; tests/lab/test_store.py has the others."""

from __future__ import annotations

import importlib
import os
import sys

import pytest

from heavytail.lab import machine
from heavytail.lab.machine import files


@pytest.fixture
def without_locks(monkeypatch):
    """As on Windows: no module fcntl, no folder that can be opened, no move of a file that is open."""
    handles: dict[int, str] = {}
    opened, closed, moved = os.open, os.close, os.replace

    def open_(path, flags, *mode, **options):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", str(path))
        handle = opened(path, flags, *mode, **options)
        handles[handle] = os.fspath(path)
        return handle

    def close(handle):
        handles.pop(handle, None)
        closed(handle)

    def replace(source, target):
        if {os.fspath(source), os.fspath(target)} & set(handles.values()):
            raise PermissionError(13, "used by another process", str(source))
        moved(source, target)

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setattr(files, "_opens_folders", False)
    for name, stand_in in (("open", open_), ("close", close), ("replace", replace)):
        monkeypatch.setattr(os, name, stand_in)
    return handles


def test_the_room_is_imported_where_there_is_no_fcntl(monkeypatch):
    monkeypatch.setattr(machine, "files", files)  # puts it back at the end
    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.delitem(sys.modules, "heavytail.lab.machine.files")
    assert importlib.import_module("heavytail.lab.machine.files") is not files


def test_a_file_is_written_whole_where_there_are_no_locks(without_locks, tmp_path):
    path = tmp_path / "a.json"
    for text in ("first", "second"):
        files.write_atomically(path, lambda part, text=text: part.write_text(text))
        assert path.read_text() == text
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert without_locks == {}


def test_a_write_that_fails_leaves_the_old_file_where_there_are_no_locks(without_locks, tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        files.write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_everybody_gets_what_is_asked_for_and_nobody_is_taken_for_dead_where_there_are_no_locks(
    without_locks, tmp_path
):
    lock, part = tmp_path / "a.lock", tmp_path / ".a.json.abcd1234.part"
    part.write_text("of somebody living, perhaps")
    with files.locked(lock) as one, files.locked(lock) as two:
        assert one is two is True
    assert lock.exists()
    files.remove_dead_parts(tmp_path)
    files.write_atomically(tmp_path / "a.json", lambda new: new.write_text("whole"))
    assert part.exists()
    with files.locked(tmp_path / "missing", make=False) as mine:
        assert mine is False


def test_with_locks_a_file_is_held_once(tmp_path):
    lock = tmp_path / "a.lock"
    with files.locked(lock) as one, files.locked(lock) as two:
        assert (one, two) == (True, False)
    assert not lock.exists()
