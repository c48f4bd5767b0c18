"""A journal holds what was appended whole, whatever happened to its tail."""

import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landscape.errors import LandscapeError
from landscape.store.journal import Journal, read_journal

IDENTITY = {"seed": 0, "points": [11, 7]}
RECORDS = [b"", b"one", bytes(100), b"\xff" * 17]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "log"


def write(path, records=RECORDS):
    journal = Journal(path, IDENTITY)
    for record in records:
        journal.append([record[:2], record[2:]])
    journal.close()
    return path.read_bytes()


def test_a_file_cut_at_any_byte_keeps_every_whole_record(path):
    content = write(path)
    assert read_journal(path) == (IDENTITY, RECORDS)
    assert read_journal(path, 2) == (IDENTITY, RECORDS[:2])
    ends = [len(content)]
    for record in reversed(RECORDS):
        ends.append(ends[-1] - 12 - len(record))
    ends.reverse()  # ends[k]: bytes of a journal with k records
    for size in range(len(content)):
        path.write_bytes(content[:size])
        journal = Journal(path, IDENTITY)
        whole = sum(end <= size for end in ends[1:])
        assert journal.records == RECORDS[:whole]
        journal.append([b"after"])
        journal.close()
        assert read_journal(path) == (IDENTITY, [*RECORDS[:whole], b"after"])


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_never_changes_a_record(path, place, bit):
    content = bytearray(write(path, RECORDS) if not path.exists() else path.with_name("good").read_bytes())
    path.with_name("good").write_bytes(content)
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        _, records = read_journal(path)
    except LandscapeError:
        return
    assert records == RECORDS[: len(records)]


def test_an_absurd_length_allocates_nothing(path):
    path.write_bytes(write(path, []) + struct.pack("<QI", 2**60, 0) + b"x")
    assert read_journal(path)[1] == []


@pytest.mark.parametrize("content", [b"my thesis, the only copy", b"LSJRNL1\nof the layout before"])
def test_foreign_files_are_not_touched(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for use in (read_journal, lambda p: Journal(p, IDENTITY)):
        with pytest.raises(LandscapeError, match="not a journal"):
            use(path)
    assert path.read_bytes() == content


def test_a_reader_beside_the_writer(path):
    journal = Journal(path, IDENTITY)
    for i in range(4):
        journal.append([bytes([i])])
        assert read_journal(path)[1] == [bytes([k]) for k in range(i + 1)]
    journal.rewrite([[b"all"], [b"others"]])
    assert read_journal(path)[1] == [b"all", b"others"]


def test_a_header_that_was_never_finished(path):
    path.write_bytes(write(path, [])[:20])
    with pytest.raises(LandscapeError, match="ends within its header"):
        read_journal(path)


def test_a_journal_is_there_with_its_whole_header_or_not_at_all(path, monkeypatch):
    def cut(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(LandscapeError, match="No space left on device"):
        Journal(path, IDENTITY)
    assert list(path.parent.iterdir()) == []
