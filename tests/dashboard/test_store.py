"""The store: what was saved is there, whoever saves beside, whatever is killed. Two databases."""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sqlite3
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, event, text
from sqlalchemy.exc import OperationalError

from dashboard.store import Draft, File, Note, StoreError, records, summary
from dashboard.store import engine as engines
from dashboard.store import store as store_module
from dashboard.store.store import Store
from dashboard.store.tables import Base
from tests.support.databases import postgresql, postgresql_programs
from tests.support.serving import free_port

KILLS = 15
ROOT = Path(__file__).resolve().parents[2]


def draft(title: str = "Cat or cup", number: int = 0, **changes: object) -> Draft:
    """A small screen; equal numbers have equal pictures."""
    fields = {
        "title": title,
        "author": "Ada",
        "page": "compare",
        "manifest": f'{{"number": {number}}}',
        "pictures": [File("cat.jpg", b"the same picture"), File("b.jpg", bytes([number % 256]))],
        "thumbnail": b"thumbnail",
        "still": b"still" * 1000,
        "arrays": hashlib.sha256(str(number).encode()).digest() * 500,
        "facts": frozenset({("class", "espresso"), ("model", "DINOv2"), ("picture", "cat.jpg")}),
    }
    return Draft(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Debian's PostgreSQL."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here (Debian: apt install postgresql)")
    with postgresql(programs) as address:
        yield address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'reviews.sqlite'}"
    found: str = request.getfixturevalue("server")
    engine = create_engine(found)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return found


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    opened = Store(address)
    yield opened
    opened.close()


# -- what goes in comes out -----------------------------------------------------------------------


def test_all_of_a_screen_comes_back(store: Store) -> None:
    screen_id = store.save(draft())
    store.add_note(screen_id, "Grace", "Look at 100 % of it")
    saved = store.get(screen_id)
    assert saved is not None
    assert (saved.title, saved.author, saved.page, saved.archived) == (
        "Cat or cup",
        "Ada",
        "compare",
        False,
    )
    assert saved.created.utcoffset() is not None
    assert [(note.author, note.text) for note in saved.notes] == [("Grace", "Look at 100 % of it")]
    again = store.draft(screen_id)
    assert again.arrays == draft().arrays
    assert again.still == draft().still
    assert [file.data for file in again.pictures] == [file.data for file in draft().pictures]
    assert store.get("0" * 32) is None
    assert store.arrays("0" * 32) == b""


def test_pictures_are_kept_once_and_found_by_the_beginning_of_their_digest(
    store: Store, address: str
) -> None:
    for number in (1, 1, 2):
        store.save(draft(number=number))
    engine = create_engine(address)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pictures")).scalar() == 3
    engine.dispose()
    file = draft().pictures[0]
    found = store.picture(file.digest[:20])
    assert found is not None
    assert (found.name, found.data) == (file.name, file.data)
    for wrong in (file.digest[:8], "%" * 20, "_" * 20, "../../etc/passwd0000", "0" * 20):
        assert store.picture(wrong) is None


def test_search_and_filters(store: Store) -> None:
    store.save(draft("Cat or cup"))
    other = store.save(draft("100%_sure", author="Bob", page="attention", facts=frozenset()))
    store.add_note(other, "Zoe", "A heron\nby the WATER")

    def titles(*arguments: object, **options: object) -> list[str]:
        return [saved.title for saved in store.find(*arguments, **options)[0]]  # type: ignore[arg-type]

    assert titles() == ["100%_sure", "Cat or cup"]
    assert titles("CUP cat") == ["Cat or cup"]
    assert titles("%") == ["100%_sure"], "a sign of SQL is only a sign"
    assert titles("_") == ["100%_sure"]
    assert titles("water") == titles("zoe") == titles("bob") == ["100%_sure"]
    assert titles("'; DROP TABLE notes; --") == []
    assert titles(page="compare") == titles(facts=[("class", "espresso")]) == ["Cat or cup"]
    assert titles(facts=[("class", "espresso"), ("model", "DINOv2")]) == ["Cat or cup"]
    assert titles(facts=[("class", "espresso"), ("model", "another")]) == []
    assert store.known("class") == ["espresso"]
    assert store.known("page") == ["attention", "compare"]
    found, count = store.find(most=1, skip=1)
    assert [saved.title for saved in found] == ["Cat or cup"]
    assert count == 2


def test_archived_is_put_away_and_no_page_deletes(store: Store) -> None:
    screen_id = store.save(draft())
    store.archive(screen_id, True, 1)
    assert store.find()[1] == 0
    assert store.find(archived=True)[1] == store.find(archived=None)[1] == 1
    store.archive(screen_id, False, 2)
    assert store.find()[1] == 1
    for page in (*ROOT.glob("dashboard/*.py"), *ROOT.glob("pages/**/*.py")):
        assert ".delete(" not in page.read_text(encoding="utf-8"), "for the operator only"


# -- two at once ----------------------------------------------------------------------------------


def test_who_changes_what_somebody_else_has_changed_is_told(store: Store) -> None:
    screen_id = store.save(draft())
    store.rename(screen_id, "First", 1)
    for late in (
        lambda: store.rename(screen_id, "Second", 1),
        lambda: store.archive(screen_id, True, 1),
    ):
        with pytest.raises(StoreError, match="Another user has changed"):
            late()
    saved = store.get(screen_id)
    assert saved is not None
    assert (saved.title, saved.archived, saved.version) == ("First", False, 2)


def test_of_two_renames_at_the_same_moment_one_is_kept(store: Store) -> None:
    screen_id = store.save(draft())

    def rename(number: int) -> bool:
        try:
            store.rename(screen_id, f"Title {number}", 1)
        except StoreError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(rename, range(8)))
    assert sum(kept) == 1
    saved = store.get(screen_id)
    assert saved is not None
    assert saved.title == f"Title {kept.index(True)}"


def test_everybody_who_saves_at_once_keeps_theirs(address: str) -> None:
    """Two stores, as of two replicas, opened and written to by many at the same moment."""
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(Store, [address] * 4))
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda i: stores[i % 4].save(draft(f"Screen {i}", i % 5)), range(40)))
        list(pool.map(lambda i: stores[i % 4].add_note(ids[0], "Ada", f"Note {i}"), range(20)))
    assert len(set(ids)) == 40
    assert {saved.title for saved in stores[0].find()[0]} == {f"Screen {i}" for i in range(40)}
    first = stores[1].get(ids[0])
    assert first is not None
    assert {note.text for note in first.notes} == {f"Note {i}" for i in range(20)}
    for opened in stores:
        opened.close()


def test_what_is_saved_again_is_left_as_it_is_and_gains_notes(store: Store) -> None:
    screen_id = store.save(draft())
    store.add_note(screen_id, "Ada", "first")
    taken = store.draft(screen_id)
    store.rename(screen_id, "Another title", 1)
    store.add_note(screen_id, "Ada", "second")
    assert store.save(taken) == screen_id
    saved = store.get(screen_id)
    assert saved is not None
    assert saved.title == "Another title"
    assert [note.text for note in saved.notes] == ["first", "second"]
    assert store.find()[1] == 1


# -- refused --------------------------------------------------------------------------------------


def test_a_half_made_screen_leaves_nothing(store: Store) -> None:
    broken = draft(pictures=[File("a", b"new"), File("b", None)])  # type: ignore[arg-type]
    with pytest.raises((StoreError, TypeError)):
        store.save(broken)
    assert store.find(archived=None)[1] == 0
    assert store.picture(File("a", b"new").digest) is None


@pytest.mark.parametrize(
    "wrong",
    ["nonsense", "sqlite:////proc/nowhere/x.sqlite", "postgresql+psycopg://u@127.0.0.1:1/x"],
)
def test_a_store_that_cannot_be_had_is_one_sentence(wrong: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(wrong)
    sentence = str(caught.value)
    assert sentence.startswith("Saved screens cannot be opened here")
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_ids_are_checked(store: Store) -> None:
    with pytest.raises(StoreError):
        store.save(draft(id="../../x"))
    for act in (
        lambda: store.rename("0" * 32, "x", 1),
        lambda: store.add_note("0" * 32, "x", "y"),
        lambda: store.draft("0" * 32),
    ):
        with pytest.raises(StoreError, match="saved screen does not exist"):
            act()


# -- tables ---------------------------------------------------------------------------------------


def test_migrations_lead_to_the_tables_as_the_code_has_them(store: Store, address: str) -> None:
    engine = create_engine(address)
    with engine.connect() as connection:
        left = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    engine.dispose()
    assert left == []


def test_opening_again_keeps_everything(address: str) -> None:
    first = Store(address)
    screen_id = first.save(draft())
    first.close()
    second = Store(address)
    assert second.get(screen_id) is not None
    second.close()


# -- letters of all languages ---------------------------------------------------------------------


def test_search_knows_the_letters_of_all_languages(store: Store) -> None:
    store.save(draft("Äpfel in der Straße", author="ΑΛΈΞΑΝΔΡΟΣ"))
    noted = store.save(draft("Another", number=1))
    store.add_note(noted, "Zoë", "Der İstanbul-Öl-Fleck, ﬁne")

    def titles(word: str) -> list[str]:
        return [card.title for card in store.find(word)[0]]

    decomposed = unicodedata.normalize("NFD", "äpfel")
    for word in ("äpfel", "ÄPFEL", decomposed, "STRASSE", "straße", "αλέξανδρος"):
        assert titles(word) == ["Äpfel in der Straße"], word
    for word in ("öl-fleck", "ZOË", "fine", "FINE"):
        assert titles(word) == ["Another"], word
    assert titles("apfel") == []


def test_search_follows_what_is_renamed_and_noted(store: Store) -> None:
    screen_id = store.save(draft("Before"))
    store.rename(screen_id, "Ärmel", 1)
    store.add_note(screen_id, "Bob", "Knöpfe")
    assert store.find("before")[1] == 0
    assert store.find("ärmel KNÖPFE bob")[1] == 1


def test_notes_of_many_at_once_are_all_found(store: Store) -> None:
    screen_id = store.save(draft())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: store.add_note(screen_id, "Ada", f"word{i}"), range(16)))
        store.rename(screen_id, "Renamed", 1)
    for number in range(16):
        assert store.find(f"word{number} renamed")[1] == 1


# -- bounds ---------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded(store: Store) -> None:
    screen_id = store.save(draft("x" * 1000, author="y" * 1000))
    saved = store.get(screen_id)
    assert saved is not None
    assert (len(saved.title), len(saved.author)) == (records.TITLE, records.AUTHOR)
    for act in (
        lambda: store.rename(screen_id, "x" * 121, 1),
        lambda: store.add_note(screen_id, "", "x" * 4001),
        lambda: store.add_note(screen_id, "y" * 61, "x"),
        lambda: store.save(draft(manifest='"' + "x" * 2**21 + '"')),
    ):
        with pytest.raises(StoreError, match="at most"):
            act()


def test_notes_are_bounded_also_where_an_archive_brings_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_NOTES", 3)
    now = datetime.now(UTC)
    notes = [Note(f"{i:032x}", "Ada", f"Note {i}", now) for i in range(5)]
    screen_id = store.save(draft(notes=notes))
    store.save(draft(id=screen_id, notes=notes))
    saved = store.get(screen_id)
    assert saved is not None
    assert len(saved.notes) == saved.noted == 3
    with pytest.raises(StoreError, match="which is the limit"):
        store.add_note(screen_id, "Ada", "one more")
    monkeypatch.setattr(store_module, "MOST_NOTES", 100)
    held = store.get(screen_id)
    assert held is not None
    assert len(held.notes) == 3, "no more are stored than are shown"


def test_a_sign_that_postgresql_does_not_take_is_left_out(store: Store) -> None:
    screen_id = store.save(
        draft("a\0b", author="c\0d", facts=frozenset({("class", "e\0f"), ("class", "e f")}))
    )
    store.add_note(screen_id, "g\0h", "i\0j")
    saved = store.get(screen_id)
    assert saved is not None
    assert (saved.title, saved.author) == ("a b", "c d")
    assert store.known("class") == ["e f"]


def test_lists_of_facts_are_bounded_and_begin_with_what_is_frequent(store: Store) -> None:
    for number in range(6):
        facts = {("class", "often"), ("class", f"rare {number}")}
        store.save(draft(number=number, facts=frozenset(facts)))
    assert store.known("class", 3) == ["often", "rare 0", "rare 1"]
    assert store.has("class", "rare 5")
    assert not store.has("class", "rare 6")
    assert store.has("page", "compare")
    assert not store.has("page", "often")


def test_cards_have_what_a_list_shows(store: Store) -> None:
    about = {
        "models": {"b": {"title": "Model B"}, "a": {"title": "Model A"}},
        "answers": {"a": [["cup", 0.75], ["cat", 0.2]], "b": [["cat", 1]], "c": [], "d": "x"},
        "arrays": {"map": {"shape": [3, 4], "dtype": "<f4"}},
    }
    screen_id = store.save(draft(manifest=json.dumps(about)))
    store.add_note(screen_id, "Ada", "x")
    [card], _ = store.find()
    assert card.answers == (("Model B", "cat", 1.0), ("Model A", "cup", 0.75))
    assert card.noted == 1
    assert card.thumbnail == b"thumbnail"
    assert store.find(thumbnails=False)[0][0].thumbnail == b""
    [size] = store.sizes()
    files = draft()
    least = len(files.still) + len(files.arrays) + len(files.thumbnail) + len(json.dumps(about))
    assert least <= size.packed < least + 10
    assert 48 <= size.unpacked < 1000
    assert dict(size.pictures) == {file.digest: len(file.data) for file in files.pictures}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[" * 100_000,
        "[1]",
        '{"answers": [], "arrays": 3, "models": []}',
        '{"answers": {"a": [[1, 2]]}, "arrays": {"b": {"shape": ["x"], "dtype": 7}}}',
        '{"answers": {"a": [["b", NaN]]}, "arrays": {"b": {"shape": [1e999], "dtype": "<f4"}}}',
        '{"answers": {"a": [["b", ' + "9" * 5000 + "]]}}",
        '{"arrays": {"b": {"shape": [' + ",".join(["999999999"] * 6) + '], "dtype": "<f8"}}}',
        "x" * (2**21 + 1),
    ],
)
def test_whatever_a_manifest_is_its_summary_is_short(text: str) -> None:
    assert summary.first_answers(text) == []
    assert 0 <= summary.unpacked_arrays(text) < 2**63
    assert summary.read_answers(text) == []


# -- what an earlier version stored ---------------------------------------------------------------


def first_version(address: str, rows: list[dict[str, Any]]) -> None:
    """A database as the first version made and filled it, which checked less."""
    engine = engines.opened(address)
    config = Config()
    config.set_main_option("script_location", str(engines.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engines.writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        held = MetaData()
        held.reflect(connection)
        tables = held.tables
        usual = {
            "author": "Ada",
            "created": datetime(2026, 1, 2, tzinfo=UTC),
            "page": "compare",
            "archived": False,
            "version": 1,
            "manifest": "{}",
            "thumbnail": b"thumbnail",
            "still": b"still",
            "arrays": b"arrays",
        }
        for row in rows:
            connection.execute(tables["screens"].insert().values(usual | row))
            connection.execute(
                tables["facts"].insert().values(screen=row["id"], kind="class", value="cup")
            )
            connection.execute(
                tables["notes"]
                .insert()
                .values(
                    id=row["id"],
                    screen=row["id"],
                    author="Bob",
                    text="Größe",
                    created=datetime(2026, 1, 3, tzinfo=UTC),
                )
            )
    engine.dispose()


def test_what_an_earlier_version_stored_is_found_and_bounded(address: str) -> None:
    answered = '{"models": {"a": {"title": "A"}}, "answers": {"a": [["cup", 0.5]]}}'
    rows = [
        {"id": f"{i:032x}", "title": title, "manifest": text, **more}
        for i, (title, text, more) in enumerate(
            [
                ("Äpfel", answered, {}),
                ("Huge", '"' + "x" * 10_000_000 + '"', {}),
                ("No JSON", "[" * 200_000, {}),
                ("Far", answered, {"created": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)}),
                ("x" * 5000, answered, {"thumbnail": bytes(3 * 2**20)}),
            ]
        )
    ]
    first_version(address, rows)
    store = Store(address)
    cards, count = store.find()
    assert count == 5
    assert cards[0].title == "Far"
    by_title = {card.title[:7]: card for card in cards}
    assert by_title["Äpfel"].answers == (("A", "cup", 0.5),)
    assert by_title["Huge"].answers == by_title["No JSON"].answers == ()
    assert by_title["xxxxxxx"].thumbnail == b""
    assert store.find("äpfel")[1] == 1
    assert store.find("größe")[1] == 5
    huge = store.get(by_title["Huge"].id)
    assert huge is not None
    assert huge.manifest == ""
    assert huge.noted == 1
    sizes = {size.id: size for size in store.sizes()}
    assert sizes[huge.id].packed > 10_000_000
    for card in cards:
        assert len(card.title) <= records.TITLE
        assert store.get(card.id) is not None
    store.delete(by_title["Far"].id)
    assert store.find()[1] == 4
    store.close()


@pytest.mark.slow
def test_a_moment_of_the_year_9999_is_read_whatever_zone_a_server_has(server: str) -> None:
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
        connection.execute(text("ALTER ROLE parallax SET timezone = 'Asia/Tokyo'"))
    try:
        store = Store(server)
        store.save(draft(created=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
        assert store.find()[0][0].created.year == 9999
        store.close()
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER ROLE parallax RESET timezone"))
        engine.dispose()


def test_what_a_newer_version_made_is_left_alone(store: Store, address: str) -> None:
    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreError, match="newer version"):
        Store(address)


# -- a database that is not as it should be -------------------------------------------------------


def test_no_sentence_names_host_port_user_or_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    for wrong, parts in (
        (f"postgresql+psycopg://someuser@127.0.0.1:{port}/somename", ("127", str(port), "some")),
        (f"sqlite:///{tmp_path}", (str(tmp_path), "sqlite")),
        ("nothing+atall://secret@elsewhere/x", ("nothing", "secret", "elsewhere")),
    ):
        with pytest.raises(StoreError) as caught:
            Store(wrong)
        assert not [part for part in parts if part in str(caught.value)], caught.value
    assert "OperationalError" in caplog.text
    assert f"port {port}" in caplog.text, "the log has what the operator needs"


def test_the_log_quotes_nothing_that_was_saved(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreError) as caught:
        store.save(draft("A secret title", page="a secret page " * 10, archived="a secret"))
    assert "secret" not in str(caught.value)
    assert "secret" not in caplog.text
    assert "the database of saved screens failed" in caplog.text


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
def test_a_file_that_went_away_is_not_written_to(tmp_path: Path, how: str) -> None:
    file, away = tmp_path / "x.sqlite", tmp_path / "away.sqlite"
    store = Store(f"sqlite:///{file}")
    screen_id = store.save(draft())
    if how == "deleted":
        file.unlink()
    else:
        file.rename(away)
    if how == "replaced":
        shutil.copy(away, file)
    for act in (
        lambda: store.save(draft(number=1)),
        lambda: store.add_note(screen_id, "Ada", "x"),
        lambda: store.find(),
        lambda: store.get(screen_id),
    ):
        with pytest.raises(StoreError, match=r"moved, deleted or replaced"):
            act()

    def refused(_: int) -> bool:
        with pytest.raises(StoreError):
            store.find()
        return True

    with ThreadPoolExecutor(4) as pool:  # connections that are made anew
        assert all(pool.map(refused, range(8)))
    assert file.exists() == (how == "replaced"), "no empty file is made in its place"
    if how != "deleted":
        away.replace(file)
        assert store.save(draft(number=1))
        assert store.find()[1] == 2
    store.close()


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes connections and says nothing; yields its port."""
    held: list[socket.socket] = []
    listening = socket.create_server(("127.0.0.1", 0))

    def take() -> None:
        with suppress(OSError):
            while True:
                held.append(listening.accept()[0])

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()
    for each in held:
        each.close()


def test_a_server_that_never_answers_is_waited_for_a_few_seconds_and_not_again() -> None:
    with silent_server() as port:
        address = f"postgresql+psycopg://parallax@127.0.0.1:{port}/x"
        begun = time.monotonic()
        for _ in range(10):
            with pytest.raises(StoreError, match="Saved screens cannot be opened here"):
                Store(address)
        assert time.monotonic() - begun < 2 * engines.CONNECTING + 2


@pytest.mark.slow
def test_a_locked_table_is_waited_for_a_few_seconds(server: str) -> None:
    engine = create_engine(server)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    store = Store(server)
    screen_id = store.save(draft())
    with engine.connect() as connection:
        connection.execute(text("LOCK TABLE screens, alembic_version IN ACCESS EXCLUSIVE MODE"))
        begun = time.monotonic()
        for act in (store.find, lambda: Store(server), lambda: store.save(draft(id=screen_id))):
            with pytest.raises(StoreError, match=r"too long|not answered"):
                act()
        assert time.monotonic() - begun < 2 * engines.ANSWERING, "it is waited for once"
    store_module._silent.clear()
    assert store.find()[1] == 1
    store.close()
    engine.dispose()


@pytest.mark.slow
def test_a_server_that_stands_still_is_hung_up_on(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWERING", 1)
    monkeypatch.setattr(engines, "GRACE", 1.0)
    store = Store(server)
    with store._engine.connect() as held:
        backend = held.execute(text("SELECT pg_backend_pid()")).scalar_one()
        held.rollback()
        os.kill(backend, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            with pytest.raises(OperationalError):
                held.execute(text("SELECT 1"))
            assert time.monotonic() - begun < 5
        finally:
            os.kill(backend, signal.SIGCONT)
    store.close()


# -- for the operator -----------------------------------------------------------------------------


def test_what_is_deleted_is_gone_with_all_that_nobody_else_shows(
    store: Store, address: str
) -> None:
    first, second = store.save(draft(number=1)), store.save(draft(number=2))
    store.add_note(first, "Ada", "x")
    shared, own = draft(number=1).pictures
    store.delete(first)
    assert store.get(first) is None
    assert store.picture(own.digest) is None
    assert store.picture(shared.digest) is not None
    engine = create_engine(address)
    with engine.connect() as connection:
        for table in ("notes", "facts", "shown", "cards"):
            query = text(f"SELECT count(*) FROM {table} WHERE screen = :screen")
            assert connection.execute(query, {"screen": first}).scalar() == 0
    engine.dispose()
    store.delete(second)
    assert store.picture(shared.digest) is None
    with pytest.raises(StoreError, match="saved screen does not exist"):
        store.delete(first)
    assert store.save(draft(number=1, id=first)) == first, "it can be brought again"


def test_who_saves_a_picture_while_it_is_deleted_keeps_it(store: Store) -> None:
    def save_and_delete(number: int) -> str:
        gone = store.save(draft(number=1))
        kept = store.save(draft(number=1))
        store.delete(gone)
        return kept

    with ThreadPoolExecutor(4) as pool:
        kept = list(pool.map(save_and_delete, range(24)))
    for screen_id in kept:
        assert len(store.pictures_of(screen_id)) == 2


# -- kill −9 --------------------------------------------------------------------------------------

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.dashboard.test_store"])


def write_forever(address: str, number: int, told: Connection) -> None:
    """Save and note, and tell after each, until somebody makes an end of it."""
    store = Store(address)
    while True:
        screen_id = store.save(draft(f"Screen {number}", number))
        store.add_note(screen_id, "Ada", f"Note {number}")
        told.send((screen_id, number))
        number += 1


def killed_writer(address: str, start: int, seconds: float) -> list[tuple[str, int]]:
    """Write until killed, so many seconds after the first; returns what was told to be saved."""
    heard, told = FORKS.Pipe(duplex=False)
    process = FORKS.Process(target=write_forever, args=(address, start, told), daemon=True)
    process.start()
    told.close()
    promised = [heard.recv()]
    time.sleep(seconds)
    process.kill()
    process.join()
    try:
        while True:
            promised.append(heard.recv())
    except EOFError:
        return promised
    finally:
        heard.close()


def test_a_store_that_goes_closes_its_connections(tmp_path: Path) -> None:
    closed: list[object] = []
    store = Store(f"sqlite:///{tmp_path / 'one.sqlite'}")
    event.listen(store._engine, "engine_disposed", closed.append)
    del store
    gc.collect()
    assert len(closed) == 1


@pytest.mark.slow
def test_kill_9_loses_nothing_and_leaves_nothing_half_written(address: str) -> None:
    moments = random.Random(12)
    Store(address).close()
    promised: list[tuple[str, int]] = []
    runs = KILLS if address.startswith("sqlite") else 4
    for run in range(runs):
        promised += killed_writer(address, run * 10_000, moments.uniform(0.02, 0.3))
    assert len(promised) > runs
    check(address, promised)


def check(address: str, promised: list[tuple[str, int]]) -> None:
    """All that was promised is there, and all that is there is whole."""
    store = Store(address)
    by_id = {card.id: store.get(card.id) for card in store.find(archived=None)[0]}
    for screen_id, number in promised:
        saved = by_id[screen_id]
        assert saved is not None
        assert saved.title == f"Screen {number}"
        assert [note.text for note in saved.notes] == [f"Note {number}"]
    for screen_id, saved in by_id.items():
        assert saved is not None
        number = int(saved.title.split()[1])
        found = store.draft(screen_id)
        assert found.arrays == draft(number=number).arrays
        assert [f.data for f in found.pictures] == [f.data for f in draft(number=number).pictures]
    assert len(by_id) - len(promised) <= KILLS, "at most the one that was under way, each time"
    screen_id = store.save(draft("after"))
    assert store.get(screen_id) is not None
    store.close()
    if address.startswith("sqlite"):
        with sqlite3.connect(address.removeprefix("sqlite:///")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()


def test_the_test_above_can_fail(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'x.sqlite'}"
    store = Store(address)
    screen_id = store.save(draft("Screen 1", 1))
    store.close()
    lost: Callable[[], None] = lambda: check(address, [("0" * 32, 1)])  # noqa: E731
    noteless: Callable[[], None] = lambda: check(address, [(screen_id, 1)])  # noqa: E731
    for failing in (lost, noteless):
        with pytest.raises((AssertionError, KeyError)):
            failing()
