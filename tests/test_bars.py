"""Progress bars: one switch, as a statement and as a block, and the environment variable behind it."""

import sys

import pytest

from landscape.bars import _Switch, bar, progress


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.setattr(_Switch, "shown", None)
    monkeypatch.delenv("LANDSCAPE_PROGRESS", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def hidden():
    return bar(range(3)).disable


def test_a_statement_holds_until_the_next():
    assert not hidden()
    progress(False)
    assert hidden()
    progress(True)
    assert not hidden()


def test_a_block_ends_as_it_began():
    with progress(False):
        assert hidden()
        with progress(True):
            assert not hidden()
        assert hidden()
    assert not hidden()


def test_a_block_ends_as_it_began_after_an_exception():
    with pytest.raises(KeyError), progress(False):
        raise KeyError
    assert not hidden()


def test_the_environment_decides_until_asked(monkeypatch):
    monkeypatch.setenv("LANDSCAPE_PROGRESS", "0")
    assert hidden()
    with progress(True):
        assert not hidden()
    assert hidden()


def test_a_log_gets_no_bars_unless_asked(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert hidden()
    with progress(True):
        assert not hidden()


def test_the_switch_says_what_it_did():
    assert repr(progress(False)) == "progress bars are hidden"


def test_a_bar_iterates_and_leaves_no_line(capsys):
    assert list(bar([1, 2], desc="grid")) == [1, 2]
    assert capsys.readouterr().out == ""
