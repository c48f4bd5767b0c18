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


def test_a_statement_holds_until_the_next_and_a_block_to_its_end():
    assert not hidden()
    assert repr(progress(False)) == "progress bars are hidden"
    assert hidden()
    with progress(True):
        assert not hidden()
    assert hidden()
    progress(True)
    assert not hidden()
    with pytest.raises(KeyError), progress(False):
        raise KeyError
    assert not hidden()


@pytest.mark.parametrize("quiet", ["environment", "log"])
def test_the_environment_and_logs_decide_until_asked(quiet, monkeypatch):
    if quiet == "environment":
        monkeypatch.setenv("LANDSCAPE_PROGRESS", "0")
    else:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert hidden()
    with progress(True):
        assert not hidden()
    assert hidden()


def test_a_bar_iterates_and_leaves_no_line(capsys):
    assert list(bar([1, 2], desc="grid")) == [1, 2]
    assert capsys.readouterr().out == ""
