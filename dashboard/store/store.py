"""Save, find, note, rename, archive: each call is one transaction."""

from __future__ import annotations

import json
import logging
import re
import threading
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from alembic.util import CommandError
from sqlalchemy import (
    LargeBinary,
    Select,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.exc import (
    ArgumentError,
    IntegrityError,
    NoSuchModuleError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session, undefer
from sqlalchemy.orm.exc import StaleDataError

from dashboard.store import engine as engines
from dashboard.store import summary
from dashboard.store.records import (
    AUTHOR,
    MOST_NOTES,
    NOTE,
    TITLE,
    Card,
    Draft,
    File,
    Note,
    Saved,
    Size,
    StoreError,
)
from dashboard.store.tables import CardRow, FactRow, NoteRow, PictureRow, ScreenRow, ShownRow

ID = re.compile(r"[0-9a-f]{32}")
FACT = 255
"""Most characters of a fact."""

MOST_KNOWN = 300
"""Most listed values of a kind of fact."""

MOST_WORDS = 8
"""Most words of a search."""

MOST_THUMBNAIL = 2**20
"""Largest thumbnail that a list reads, in bytes; those made here have a tenth."""

REST = 5.0
"""Seconds before an unresponsive database is queried again."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_silent: dict[str, float] = {}
"""Times from which unresponsive databases are queried again, by address."""
_silence = threading.Lock()


class Store:
    """All saved screens; may be used by several threads and processes.

    Parameters
    ----------
    address
        Of SQLAlchemy, such as ``sqlite:////path/reviews.sqlite`` or
        ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    StoreError
        From every method: the database cannot be reached, or reports an error.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        with self._told("opened"):
            self._engine = engines.opened(address)
            try:
                engines.bring_up_to_date(self._engine)
            except BaseException:
                self._engine.dispose()
                raise
        self._writing = engines.writing(self._engine)
        weakref.finalize(self, self._engine.dispose)  # not left to garbage collection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # -- to save --------------------------------------------------------------------------------

    def save(self, draft: Draft) -> str:
        """Save a screen with all its data; returns its id.

        An existing screen is not changed, except that missing notes are added.
        """
        screen_id = draft.id or uuid.uuid4().hex
        if not ID.fullmatch(screen_id):
            raise StoreError(f"{screen_id[:40]!r} is not the id of a saved screen.")
        if (size := len(draft.manifest.encode())) > summary.MOST_MANIFEST:
            raise StoreError(
                f"The description of this screen has {size / 2**20:.1f} MB beside its arrays, "
                f"at most {summary.MOST_MANIFEST // 2**20} MB are allowed; show less at once."
            )

        def write(session: Session) -> None:
            held = session.get(ScreenRow, screen_id)
            if held is None:
                session.add(_row(screen_id, draft))
                session.flush()
                session.add(_card_row(screen_id, draft))
                # In a fixed order, so that concurrent saves do not deadlock.
                for file in sorted(draft.pictures, key=lambda file: file.digest):
                    _keep_picture(session, file)
                for place, file in enumerate(draft.pictures):
                    session.add(ShownRow(screen=screen_id, place=place, picture=file.digest))
                for kind, value in sorted({(kind, _fact(value)) for kind, value in draft.facts}):
                    session.add(FactRow(screen=screen_id, kind=kind, value=value))
            known = set(session.scalars(select(NoteRow.id).where(NoteRow.screen == screen_id)))
            room = MOST_NOTES - len(known)
            for note in draft.notes:
                if room > 0 and note.id not in known and session.get(NoteRow, note.id) is None:
                    session.add(_note_row(screen_id, note))
                    room -= 1
            _seek_again(session, screen_id)

        self._write(write, "saved")
        return screen_id

    def add_note(self, screen_id: str, author: str, text: str) -> None:
        """Add a note; concurrent notes never conflict."""
        _short_enough("A name", author, AUTHOR)
        _short_enough("A note", text, NOTE)
        note = Note(uuid.uuid4().hex, author, text, datetime.now(UTC))

        def write(session: Session) -> None:
            _found(session, screen_id)
            if _count_notes(session, screen_id) >= MOST_NOTES:
                raise StoreError(
                    f"This screen has {MOST_NOTES} notes, which is the limit; save it again and go "
                    "on there."
                )
            session.add(_note_row(screen_id, note))
            _seek_again(session, screen_id)

        self._write(write, "kept")

    def rename(self, screen_id: str, title: str, version: int) -> None:
        """Change the title; rejected if the screen was changed since ``version`` was read."""
        _short_enough("A title", title, TITLE)
        self._change(screen_id, version, "title", _clean(title))

    def archive(self, screen_id: str, archived: bool, version: int) -> None:
        """Archive or restore; rejected as in `rename`."""
        self._change(screen_id, version, "archived", archived)

    def _change(self, screen_id: str, version: int, field: str, value: Any) -> None:
        def write(session: Session) -> None:
            row = _found(session, screen_id)
            if row.version != version:
                raise StaleDataError
            setattr(row, field, value)
            _seek_again(session, screen_id)

        try:
            self._write(write, "changed")
        except StaleDataError as error:
            raise StoreError(
                "Another user has changed this screen meanwhile; open it again, then try once more."
            ) from error

    def delete(self, screen_id: str) -> None:
        """Delete a screen for good, with its notes and the pictures that no other screen shows.

        For the operator: pages only archive.
        """

        def write(session: Session) -> None:
            _found(session, screen_id)
            shown = select(ShownRow.picture).where(ShownRow.screen == screen_id)
            digests = list(session.scalars(shown))
            for table in (NoteRow, FactRow, ShownRow, CardRow):
                session.execute(delete(table).where(table.screen == screen_id))
            session.execute(delete(ScreenRow).where(ScreenRow.id == screen_id))
            still_shown = exists().where(ShownRow.picture == PictureRow.digest)
            unused = PictureRow.digest.in_(digests) & ~still_shown
            session.execute(delete(PictureRow).where(unused))

        self._write(write, "deleted")

    def _write(self, act: Callable[[Session], None], what: str) -> None:
        """Run one transaction; retried if the same screen was saved concurrently."""
        begun = self._asked(what)
        for attempt in (1, 2):
            try:
                with Session(self._writing) as session, session.begin():
                    act(session)
                return
            except StaleDataError:
                raise
            except IntegrityError as error:
                if attempt == 2:
                    raise StoreError(f"This could not be {what}: {_reason(error)}.") from error
            except SQLAlchemyError as error:
                self._failed(begun)
                raise StoreError(f"This could not be {what}: {_reason(error)}.") from error

    # -- to find --------------------------------------------------------------------------------

    def get(self, screen_id: str) -> Saved | None:
        """A screen by its id.

        Its manifest is empty if an earlier version stored one that exceeds the current limit.
        """
        fields = (ScreenRow.id, ScreenRow.title, ScreenRow.author, ScreenRow.created)
        more = (ScreenRow.page, ScreenRow.archived, ScreenRow.version)
        with self._told("read"), Session(self._engine) as session:
            row = session.execute(
                select(*fields, *more, self._manifest(), _bounded(ScreenRow.thumbnail)).where(
                    ScreenRow.id == screen_id
                )
            ).first()
            if row is None:
                return None
            notes = session.execute(
                select(
                    NoteRow.id,
                    func.substr(NoteRow.author, 1, AUTHOR),
                    func.substr(NoteRow.text, 1, NOTE),
                    NoteRow.created,
                )
                .where(NoteRow.screen == screen_id)
                .order_by(NoteRow.created.desc(), NoteRow.id.desc())
                .limit(MOST_NOTES)
            ).all()
            said = tuple(Note(*tuple(note)) for note in reversed(notes))
            values: list[Any] = [*row, said]
            return Saved(*values)

    def find(
        self,
        text: str = "",
        *,
        page: str | None = None,
        facts: Sequence[tuple[str, str]] = (),
        archived: bool | None = False,
        most: int | None = None,
        skip: int = 0,
        thumbnails: bool = True,
    ) -> tuple[list[Card], int]:
        """Screens, the newest first, and their total number.

        Parameters
        ----------
        text
            Words in the title, the author's name or a note, compared as by
            `dashboard.store.summary.fold`.
        facts
            Pairs of a kind and a value, all of which a screen must have; see `Draft`.
        archived
            Whether to return archived screens or the others; ``None`` for both.
        """
        wanted = _wanted(text, page, facts, archived)
        with self._told("read"), Session(self._engine) as session:
            count = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
            ids = list(session.scalars(_part(_newest_first(wanted), most, skip)))
            return _cards(session, ids, thumbnails), count

    def sizes(
        self,
        text: str = "",
        *,
        page: str | None = None,
        facts: Sequence[tuple[str, str]] = (),
        archived: bool | None = False,
        most: int | None = None,
        skip: int = 0,
    ) -> list[Size]:
        """Sizes in an archive of the screens that `find` would return."""
        wanted = _part(_newest_first(_wanted(text, page, facts, archived)), most, skip)
        with self._told("read"), Session(self._engine) as session:
            ids = list(session.scalars(wanted))
            pictures: dict[str, dict[str, int]] = {screen_id: {} for screen_id in ids}
            held: dict[str, tuple[int, int]] = {}
            for some in _portions(ids):
                for screen, digest, size in session.execute(
                    select(ShownRow.screen, ShownRow.picture, func.length(PictureRow.data))
                    .join(PictureRow, PictureRow.digest == ShownRow.picture)
                    .where(ShownRow.screen.in_(some))
                ):
                    pictures[screen][digest] = size
                for screen, packed, unpacked in session.execute(
                    select(CardRow.screen, CardRow.packed, CardRow.unpacked).where(
                        CardRow.screen.in_(some)
                    )
                ):
                    held[screen] = packed, unpacked
                counted = select(NoteRow.screen, func.sum(func.length(NoteRow.text)))
                for screen, said in session.execute(
                    counted.where(NoteRow.screen.in_(some)).group_by(NoteRow.screen)
                ):
                    packed, unpacked = held.get(screen, (0, 0))
                    held[screen] = packed + said, unpacked
            return [Size(name, *held.get(name, (0, 0)), pictures=pictures[name]) for name in ids]

    def known(self, kind: str, most: int = MOST_KNOWN) -> list[str]:
        """The most frequent values of a kind of fact, or of ``"page"``, sorted."""
        column = ScreenRow.page if kind == "page" else FactRow.value
        wanted = select(column).group_by(column).order_by(func.count().desc(), column).limit(most)
        if kind != "page":
            wanted = wanted.where(FactRow.kind == kind)
        with self._told("read"), Session(self._engine) as session:
            return sorted(session.scalars(wanted), key=lambda value: (summary.fold(value), value))

    def has(self, kind: str, value: str) -> bool:
        """Whether any screen has a fact, or belongs to a page."""
        wanted = exists().where(FactRow.kind == kind, FactRow.value == value)
        if kind == "page":
            wanted = exists().where(ScreenRow.page == value)
        with self._told("read"), Session(self._engine) as session:
            return bool(session.scalar(select(wanted)))

    def picture(self, beginning: str) -> File | None:
        """The picture whose digest begins with these hexadecimal digits, at least 16."""
        if not re.fullmatch(r"[0-9a-f]{16,64}", beginning):
            return None
        with self._told("read"), Session(self._engine) as session:
            row = session.scalars(
                select(PictureRow)
                .where(PictureRow.digest >= beginning, PictureRow.digest < beginning + "g")
                .options(undefer(PictureRow.data))
                .limit(1)
            ).first()
            return None if row is None else File(row.name, row.data)

    def pictures_of(self, screen_id: str) -> list[File]:
        """The pictures of a screen, the main one first."""
        with self._told("read"), Session(self._engine) as session:
            rows = session.scalars(
                select(PictureRow)
                .join(ShownRow, ShownRow.picture == PictureRow.digest)
                .where(ShownRow.screen == screen_id)
                .order_by(ShownRow.place)
                .options(undefer(PictureRow.data))
            )
            return [File(row.name, row.data) for row in rows]

    def draft(self, screen_id: str) -> Draft:
        """A screen with all its data, for export."""
        saved = self.get(screen_id)
        if saved is None:
            raise StoreError("This saved screen does not exist; search for it on the Review page.")
        return Draft(
            title=saved.title,
            author=saved.author,
            page=saved.page,
            manifest=saved.manifest,
            pictures=self.pictures_of(screen_id),
            thumbnail=saved.thumbnail,
            still=self.still(screen_id),
            arrays=self.arrays(screen_id),
            notes=saved.notes,
            id=saved.id,
            created=saved.created,
            archived=saved.archived,
        )

    def still(self, screen_id: str) -> bytes:
        """The still picture of a screen; empty if the screen does not exist."""
        return self._one(ScreenRow.still, screen_id)

    def arrays(self, screen_id: str) -> bytes:
        """The arrays of a screen, as an NPZ file; empty if the screen does not exist."""
        return self._one(ScreenRow.arrays, screen_id)

    def _one(self, column: Any, screen_id: str) -> bytes:
        with self._told("read"), Session(self._engine) as session:
            return session.scalar(select(column).where(ScreenRow.id == screen_id)) or b""

    def _manifest(self) -> Any:
        """The SQL expression of the manifest, empty if it is too long."""
        size: Any = func.octet_length(ScreenRow.manifest)
        if self._engine.dialect.name == "sqlite":  # supported from 3.43 on
            size = func.length(cast(ScreenRow.manifest, LargeBinary))
        return case((size <= summary.MOST_MANIFEST, ScreenRow.manifest), else_="")

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn errors of a database or its file into a sentence."""
        begun = self._asked(what)
        try:
            yield
        except (SQLAlchemyError, OSError, ImportError, CommandError) as error:
            self._failed(begun)
            raise StoreError(f"Saved screens cannot be {what} here: {_reason(error)}.") from error

    def _asked(self, what: str) -> float:
        """The time of a query; raises at once for a database that was recently unresponsive.

        A page runs several queries, each of which would wait as long as the first.
        """
        now = monotonic()
        with _silence:
            resting = _silent.get(self._address, 0.0) > now
        if resting:
            raise StoreError(
                f"Saved screens cannot be {what} here: the database has not answered; try again "
                "in a few seconds."
            )
        return now

    def _failed(self, begun: float) -> None:
        """Remember a database that took long to fail."""
        if monotonic() - begun > REST / 2:
            with _silence:
                _silent[self._address] = monotonic() + REST


# -- what went wrong ------------------------------------------------------------------------------


def _reason(error: Exception) -> str:
    """The reason for an error, without host names, file names or user data."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    # A message may quote user data; only messages from before any statement concern the
    # connection alone.
    said = "" if getattr(error, "statement", None) else str(cause).strip().partition("\n")[0][:300]
    told = isinstance(error, SQLAlchemyError) and hasattr(error, "orig")
    _log.warning(
        "the database of saved screens failed: %s %s %s",
        type(cause).__name__,
        state,
        said if told and not isinstance(error, IntegrityError) else "",
    )
    if isinstance(error, engines.Moved):
        return (
            "their file was moved, deleted or replaced while the application ran; put it back, or "
            "start the application again"
        )
    if isinstance(error, (engines.Newer, CommandError)):
        return "a newer version of Parallax has upgraded the database; start that version"
    if isinstance(error, ImportError):
        return "the database driver is not installed; the operator must install it"
    if isinstance(error, (ArgumentError, NoSuchModuleError)):
        return "the database that the operator set is not a SQLAlchemy URL"
    if isinstance(error, NoConnection) or state in ("57014", "55P03"):
        return "the database took too long to answer; try again in a minute"
    by_state = {
        "SQLITE_BUSY": "other writes are in progress; try again in a minute",
        "SQLITE_LOCKED": "other writes are in progress; try again in a minute",
        "SQLITE_FULL": "the disk is full; the operator must free space",
        "SQLITE_READONLY": "the database is read-only; the operator must allow changes",
        "SQLITE_CORRUPT": "the database is damaged; the operator must restore a backup",
        "SQLITE_NOTADB": "the file is not a database; the operator must set another",
        "53100": "the disk is full; the operator must free space",
        "25006": "the database is read-only; the operator must allow changes",
        "42501": "the database is read-only; the operator must allow changes",
    }
    for beginning, words in by_state.items():
        if str(state).startswith(beginning):
            return words
    if isinstance(error, IntegrityError):
        return "another user changed the same screen; try again"
    if isinstance(error, OSError) or str(state).startswith("SQLITE_CANTOPEN"):
        return "their file cannot be opened; the operator must check the folder and its permissions"
    if getattr(error, "orig", None) is not None and not getattr(error, "statement", None):
        return "the database cannot be reached; try again in a minute, or ask the operator"
    return "the database reports an error; the application's log has the details"


def _short_enough(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise StoreError(f"{what} has at most {most} characters, not {len(text)}; shorten it.")


# -- parts of statements --------------------------------------------------------------------------


def _wanted(
    text: str, page: str | None, facts: Sequence[tuple[str, str]], archived: bool | None
) -> Select[Any]:
    """Ids of screens; see `Store.find`."""
    wanted = select(ScreenRow.id)
    if archived is not None:
        wanted = wanted.where(ScreenRow.archived == archived)
    if page is not None:
        wanted = wanted.where(ScreenRow.page == page)
    for kind, value in facts:
        wanted = wanted.where(
            exists().where(
                FactRow.screen == ScreenRow.id, FactRow.kind == kind, FactRow.value == value
            )
        )
    if words := summary.fold(text).split()[:MOST_WORDS]:
        wanted = wanted.join(CardRow, CardRow.screen == ScreenRow.id)
        for word in words:
            wanted = wanted.where(CardRow.sought.contains(word, autoescape=True))
    return wanted


def _newest_first(wanted: Select[Any]) -> Select[Any]:
    return wanted.order_by(ScreenRow.created.desc(), ScreenRow.id.desc())


def _part(wanted: Select[Any], most: int | None, skip: int) -> Select[Any]:
    return wanted.offset(skip).limit(most) if most is not None else wanted


def _portions(ids: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Ids in portions, as databases limit the values of one statement."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def _bounded(column: Any) -> Any:
    """The SQL expression of a thumbnail, empty if it is too large."""
    return case((func.length(column) <= MOST_THUMBNAIL, column), else_=literal(b"", LargeBinary))


def _cards(session: Session, ids: Sequence[str], thumbnails: bool) -> list[Card]:
    fields = (
        ScreenRow.id,
        func.substr(ScreenRow.title, 1, TITLE),
        func.substr(ScreenRow.author, 1, AUTHOR),
        ScreenRow.created,
        ScreenRow.page,
        ScreenRow.archived,
        CardRow.answers,
        _bounded(ScreenRow.thumbnail) if thumbnails else literal(b"", LargeBinary),
    )
    noted: dict[str, int] = {}
    found: dict[str, Card] = {}
    for some in _portions(ids):
        noted.update(_noted(session, some))
        rows = session.execute(
            select(*fields)
            .outerjoin(CardRow, CardRow.screen == ScreenRow.id)
            .where(ScreenRow.id.in_(some))
        )
        for name, title, author, created, page, archived, answers, thumbnail in rows:
            answered = tuple(summary.read_answers(answers or ""))
            count = noted.get(name, 0)
            found[name] = Card(
                name, title, author, created, page, archived, count, answered, thumbnail
            )
    return [found[name] for name in ids if name in found]


def _noted(session: Session, ids: Iterable[str]) -> Mapping[str, int]:
    counted = select(NoteRow.screen, func.count()).where(NoteRow.screen.in_(ids))
    return {row[0]: row[1] for row in session.execute(counted.group_by(NoteRow.screen))}


def _count_notes(session: Session, screen_id: str) -> int:
    return _noted(session, [screen_id]).get(screen_id, 0)


def _found(session: Session, screen_id: str) -> ScreenRow:
    row = session.get(ScreenRow, screen_id)
    if row is None:
        raise StoreError("This saved screen does not exist; search for it on the Review page.")
    return row


def _seek_again(session: Session, screen_id: str) -> None:
    """Update the search text of a screen from its current content.

    Concurrent changes of the same screen wait here for each other and read the latest content.
    """
    session.flush()
    session.execute(
        select(CardRow.screen).where(CardRow.screen == screen_id).with_for_update()
    ).first()
    row = session.execute(
        select(ScreenRow.title, ScreenRow.author).where(ScreenRow.id == screen_id)
    ).one()
    said = session.execute(
        select(NoteRow.author, NoteRow.text)
        .where(NoteRow.screen == screen_id)
        .order_by(NoteRow.created, NoteRow.id)
    )
    texts = [*row, *(text for note in said for text in note)]
    session.execute(
        update(CardRow).where(CardRow.screen == screen_id).values(sought=summary.sought(texts))
    )


def _keep_picture(session: Session, file: File) -> None:
    """Store a file unless it exists or is being stored concurrently."""
    if session.get(PictureRow, file.digest) is None:
        row = PictureRow(
            digest=file.digest, name=_clean(file.name), data=file.data, created=datetime.now(UTC)
        )
        with suppress(IntegrityError), session.begin_nested():
            session.add(row)


# -- rows -----------------------------------------------------------------------------------------


def _clean(text: str) -> str:
    """A text without the one character that PostgreSQL rejects."""
    return text.replace("\0", " ")


def _fact(value: str) -> str:
    return _clean(value)[:FACT]


def _row(screen_id: str, draft: Draft) -> ScreenRow:
    return ScreenRow(
        id=screen_id,
        title=_clean(draft.title)[:TITLE],
        author=_clean(draft.author)[:AUTHOR],
        created=draft.created or datetime.now(UTC),
        page=_clean(draft.page),
        archived=draft.archived,
        manifest=_clean(draft.manifest),
        thumbnail=draft.thumbnail,
        still=draft.still,
        arrays=draft.arrays,
    )


def _card_row(screen_id: str, draft: Draft) -> CardRow:
    files = len(draft.thumbnail) + len(draft.still) + len(draft.arrays)
    return CardRow(
        screen=screen_id,
        sought="",
        answers=json.dumps(summary.first_answers(draft.manifest)),
        packed=files + len(draft.manifest.encode()),
        unpacked=summary.unpacked_arrays(draft.manifest),
    )


def _note_row(screen_id: str, note: Note) -> NoteRow:
    return NoteRow(
        id=note.id,
        screen=screen_id,
        author=_clean(note.author)[:AUTHOR],
        text=_clean(note.text)[:NOTE],
        created=note.created,
    )
