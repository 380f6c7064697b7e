"""The store: what was saved is there, whoever saves beside, whatever is killed. Two databases."""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, event, text

from dashboard.store import Draft, File, StoreError
from dashboard.store.store import Store
from dashboard.store.tables import Base
from tests.support.databases import postgresql, postgresql_programs

KILLS = 15


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


@pytest.fixture(params=["sqlite", "postgresql"])
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


def test_archived_is_put_away_and_never_deleted(store: Store) -> None:
    screen_id = store.save(draft())
    store.archive(screen_id, True, 1)
    assert store.find()[1] == 0
    assert store.find(archived=True)[1] == store.find(archived=None)[1] == 1
    store.archive(screen_id, False, 2)
    assert store.find()[1] == 1
    assert not [name for name in dir(Store) if "delete" in name or "remove" in name]


# -- two at once ----------------------------------------------------------------------------------


def test_who_changes_what_somebody_else_has_changed_is_told(store: Store) -> None:
    screen_id = store.save(draft())
    store.rename(screen_id, "First", 1)
    for late in (
        lambda: store.rename(screen_id, "Second", 1),
        lambda: store.archive(screen_id, True, 1),
    ):
        with pytest.raises(StoreError, match="Somebody else changed"):
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
        with pytest.raises(StoreError, match="no such saved screen"):
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
    by_id = {saved.id: saved for saved in store.find(archived=None)[0]}
    for screen_id, number in promised:
        saved = by_id[screen_id]
        assert saved.title == f"Screen {number}"
        assert [note.text for note in saved.notes] == [f"Note {number}"]
    for screen_id, saved in by_id.items():
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
