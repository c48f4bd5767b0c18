"""A journal holds what was appended whole, whatever happened to its tail."""

import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from landscape.errors import LandscapeError
from landscape.store.journal import Journal, fingerprint, read_journal

SETTINGS = {"seed": 0, "points": [11, 7]}
RECORDS = [b"", b"one", bytes(100), b"\xff" * 17]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "log"


def write(path, records=RECORDS):
    with Journal(path, SETTINGS, b"about") as journal:
        for record in records:
            journal.append(record)
    return path.read_bytes()


def test_round_trip(path):
    write(path)
    assert read_journal(path) == (SETTINGS, b"about", RECORDS)
    with Journal(path, SETTINGS) as journal:
        assert (journal.records, journal.dropped) == (RECORDS, 0)


def test_a_file_cut_at_any_byte_keeps_every_whole_record(path):
    content = write(path)
    ends = [len(content)]
    for record in reversed(RECORDS):
        ends.append(ends[-1] - 12 - len(record))
    ends.reverse()  # ends[k]: bytes of a journal with k records
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with Journal(path, SETTINGS, b"about") as journal:
            whole = sum(end <= size for end in ends[1:])
            assert journal.records == RECORDS[:whole]
            assert journal.dropped == (size - ends[whole] if size >= ends[0] else 0)
            journal.append(b"after")
        assert read_journal(path) == (SETTINGS, b"about", [*RECORDS[:whole], b"after"])


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_never_changes_a_record(path, place, bit):
    content = bytearray(write(path, RECORDS) if not path.exists() else path.with_name("good").read_bytes())
    path.with_name("good").write_bytes(content)
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        _, _, records = read_journal(path)
    except LandscapeError:
        return
    assert records == RECORDS[: len(records)]


def test_an_absurd_length_allocates_nothing(path):
    content = write(path, [])
    path.write_bytes(content + struct.pack("<QI", 2**60, 0) + b"x")
    assert read_journal(path)[2] == []


def test_other_settings_are_refused_and_named(path):
    content = write(path)
    with pytest.raises(LandscapeError, match="seed: 0 there, 1 here"):
        Journal(path, {**SETTINGS, "seed": 1})
    assert path.read_bytes() == content


def test_settings_are_compared_whatever_their_order(path):
    write(path)
    with Journal(path, dict(reversed(SETTINGS.items()))) as journal:
        assert journal.records == RECORDS
    assert fingerprint(SETTINGS) != fingerprint({**SETTINGS, "seed": 1})


def test_foreign_files_are_not_touched(path):
    path.parent.mkdir()
    path.write_bytes(b"my thesis, the only copy")
    for use in (read_journal, lambda p: Journal(p, SETTINGS)):
        with pytest.raises(LandscapeError, match="not a journal"):
            use(path)
    assert path.read_bytes() == b"my thesis, the only copy"


def test_a_reader_beside_the_writer(path):
    with Journal(path, SETTINGS) as journal:
        for i in range(4):
            journal.append(bytes([i]))
            assert read_journal(path)[2] == [bytes([k]) for k in range(i + 1)]


def test_a_header_that_was_never_finished(path):
    content = write(path, [])
    path.write_bytes(content[:20])
    with pytest.raises(LandscapeError, match="ends within its header"):
        read_journal(path)


def test_a_full_disk_keeps_what_was_there(path, monkeypatch):
    real = os.write

    def full(fd, data):
        if len(data) > 100:
            real(fd, data[:10])
            raise OSError(28, "No space left on device")
        return real(fd, data)

    with Journal(path, SETTINGS) as journal:
        journal.append(b"first")
        size = path.stat().st_size
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(LandscapeError, match=r"No space left on device; what was finished before is kept"):
            journal.append(bytes(200))
        monkeypatch.undo()
        assert path.stat().st_size == size
        journal.append(b"second")
    assert read_journal(path)[2] == [b"first", b"second"]


def test_every_append_is_on_the_disk_when_it_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with Journal(path, SETTINGS) as journal:
        for i in range(5):
            journal.append(bytes(i))
            assert synced[-1] == path.stat().st_size
        assert len(synced) == 7  # the file, its folder, and each append once


def test_a_journal_is_there_with_its_whole_header_or_not_at_all(path, monkeypatch):
    def cut(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", cut)
    with pytest.raises(LandscapeError, match="No space left on device"):
        Journal(path, SETTINGS, b"about")
    assert list(path.parent.iterdir()) == []


def test_settings_must_be_json(path):
    with pytest.raises(LandscapeError, match="JSON values"):
        Journal(path, {"model": object()})
    assert not path.exists()


def test_delete(path):
    write(path)
    with Journal(path, SETTINGS) as journal:
        journal.delete()
    assert not path.exists()
