"""What the operator types: `python -m dashboard.store`, on two databases."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard import archive
from dashboard.store import __main__ as commands
from dashboard.store.store import Store
from tests.dashboard.test_archive import draft
from tests.dashboard.test_store import address, server
from tests.support.alone import alone

__all__ = ["address", "server"]


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    opened = Store(address)
    yield opened
    opened.close()


def run(address: str, *arguments: str) -> int:
    return commands.main(["--store", address, *arguments])


def test_screens_are_listed_and_shown(
    store: Store, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store.save(draft("Äpfel"))
    hostile = store.save(draft("a\x1b[2Jb\nc"))
    store.archive(hostile, True, 1)
    assert run(address, "list") == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == sorted([first, hostile], reverse=True)
    assert "\x1b" not in out
    assert "(archived)" in next(line for line in lines if hostile in line)
    assert err == "1 to 2 of 2\n"
    assert run(address, "list", "--search", "ÄPFEL", "--most", "1") == 0
    assert capsys.readouterr().out.startswith(first)
    assert run(address, "list", "--search", "nowhere") == 0
    assert capsys.readouterr() == ("", "none\n")
    assert run(address, "show", first) == 0
    out = capsys.readouterr().out
    for expected in (first, "Äpfel", "Ada", "2026-01-02", "teal.png", "Bob: A note"):
        assert expected in out


def test_screens_are_deleted_if_that_is_wanted(
    store: Store,
    address: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [store.save(draft(f"Screen {number}")) for number in range(3)]
    for answer, expected in (("no\n", 3), ("", 3), ("yes\n", 2)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        assert run(address, "delete", ids[0]) == (1 if expected == 3 else 0)
        assert store.find()[1] == expected
    assert "Screen 0" in capsys.readouterr().out
    assert run(address, "delete", "--yes", ids[1], ids[2], ids[1]) == 0
    assert capsys.readouterr().out == f"deleted {ids[1]}\ndeleted {ids[2]}\n"
    assert store.find(archived=None)[1] == 0
    assert run(address, "delete", "--yes", ids[0]) == 1
    assert "no saved screen" in capsys.readouterr().err


def test_of_several_one_of_which_is_not_there_none_is_deleted(store: Store, address: str) -> None:
    screen_id = store.save(draft())
    assert run(address, "delete", "--yes", screen_id, "0" * 32) == 1
    assert store.get(screen_id) is not None


def test_what_is_exported_is_imported(
    store: Store,
    address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(archive, "MOST_EXPORTED", 2)
    ids = [store.save(draft(f"Screen {number}")) for number in range(3)]
    store.archive(ids[0], True, 1)
    first, second, chosen = (tmp_path / f"{name}.zip" for name in ("first", "second", "chosen"))
    assert run(address, "export", str(first)) == 0
    assert capsys.readouterr().out == "2 exported. 1 older ones: --skip 2.\n"
    assert run(address, "export", "--skip", "2", str(second)) == 0
    assert capsys.readouterr().out == "1 exported.\n"
    assert run(address, "export", str(chosen), ids[1]) == 0
    assert run(address, "export", "--skip", "3", str(tmp_path / "none.zip")) == 1
    assert "nothing to export" in capsys.readouterr().err
    elsewhere = f"sqlite:///{tmp_path / 'elsewhere' / 'x.sqlite'}"
    for file, count in ((first, 2), (second, 1), (chosen, 1)):
        assert run(elsewhere, "import", str(file)) == 0
        assert capsys.readouterr().out.endswith(f"{count} imported\n")
    there = Store(elsewhere)
    assert {card.id for card in there.find(archived=None)[0]} == set(ids)
    there.close()


def test_what_cannot_be_done_is_a_sentence_and_a_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = f"sqlite:///{tmp_path / 'x.sqlite'}"
    Store(here).close()
    (tmp_path / "text.zip").write_text("hello")
    for arguments in (
        ("--store", f"sqlite:///{tmp_path / 'nowhere.sqlite'}", "list"),
        ("--store", "nonsense", "list"),
        ("--store", here, "show", "0" * 32),
        ("--store", here, "import", str(tmp_path / "missing.zip")),
        ("--store", here, "import", str(tmp_path / "text.zip")),
    ):
        assert commands.main(arguments) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.endswith(".\n")
        assert err.count("\n") == 1
    assert not (tmp_path / "nowhere.sqlite").exists()


def test_what_is_not_understood_is_a_two_and_help_says_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in ([], ["remove"], ["show"], ["show", "../x"], ["list", "--most", "-1"]):
        with pytest.raises(SystemExit) as ended:
            commands.main(arguments)
        assert ended.value.code == 2
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        commands.main(["--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    for word in ("list", "show", "delete", "import", "export", "PARALLAX_STORE", "Exit codes"):
        assert word in help_text


def test_the_command_and_the_store_know_no_streamlit() -> None:
    line = (
        "import sys; from dashboard.store import __main__; print(sorted(m for m in sys.modules if "
        "m in ('streamlit', 'plotly')))"
    )
    assert alone(line).stdout.strip() == "[]"
