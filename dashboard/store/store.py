"""Save, find, note, rename, archive: each call is one transaction, kept whole or not at all."""

from __future__ import annotations

import re
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import Select, exists, func, or_, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session, undefer
from sqlalchemy.orm.exc import StaleDataError

from dashboard.store import engine as engines
from dashboard.store.records import Draft, File, Note, Saved, StoreError
from dashboard.store.tables import FactRow, NoteRow, PictureRow, ScreenRow, ShownRow

ID = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


class Store:
    """All saved screens; may be used by several threads, and beside other processes.

    Parameters
    ----------
    address
        Of SQLAlchemy, such as ``sqlite:////path/reviews.sqlite`` or
        ``postgresql+psycopg://user@host/name``.

    Raises
    ------
    StoreError
        From every method: the database cannot be reached, or refuses.
    """

    def __init__(self, address: str) -> None:
        with _told("opened"):
            self._engine = engines.opened(address)
            engines.bring_up_to_date(self._engine)
        self._writing = engines.writing(self._engine)
        weakref.finalize(self, self._engine.dispose)  # not left to whoever collects garbage

    def close(self) -> None:
        """Give back all connections."""
        self._engine.dispose()

    # -- to save --------------------------------------------------------------------------------

    def save(self, draft: Draft) -> str:
        """Keep a screen with all that belongs to it; returns its id.

        One that is there already keeps what it has, and gains the notes that it lacks.
        """
        screen_id = draft.id or uuid.uuid4().hex
        if not ID.fullmatch(screen_id):
            raise StoreError(f"{screen_id[:40]!r} is no id of a saved screen.")

        def write(session: Session) -> None:
            held = session.get(ScreenRow, screen_id)
            if held is None:
                session.add(_row(screen_id, draft))
                session.flush()
                # In one order for all, so that two who save do not wait for each other.
                for file in sorted(draft.pictures, key=lambda file: file.digest):
                    _keep_picture(session, file)
                for place, file in enumerate(draft.pictures):
                    session.add(ShownRow(screen=screen_id, place=place, picture=file.digest))
                for kind, value in sorted(draft.facts):
                    session.add(FactRow(screen=screen_id, kind=kind, value=value[:255]))
            known = set() if held is None else {note.id for note in held.notes}
            for note in draft.notes:
                if note.id not in known and session.get(NoteRow, note.id) is None:
                    session.add(_note_row(screen_id, note))

        self._write(write, "saved")
        return screen_id

    def add_note(self, screen_id: str, author: str, text: str) -> None:
        """Add a note; notes of several people never meet."""
        note = Note(uuid.uuid4().hex, author, text, datetime.now(UTC))

        def write(session: Session) -> None:
            _found(session, screen_id)
            session.add(_note_row(screen_id, note))

        self._write(write, "kept")

    def rename(self, screen_id: str, title: str, version: int) -> None:
        """Give another title; refused if the screen was changed since ``version`` was read."""
        self._change(screen_id, version, "title", title)

    def archive(self, screen_id: str, archived: bool, version: int) -> None:
        """Put away, or fetch back; nothing is ever deleted. Refused as `rename` is."""
        self._change(screen_id, version, "archived", archived)

    def _change(self, screen_id: str, version: int, field: str, value: Any) -> None:
        def write(session: Session) -> None:
            row = _found(session, screen_id)
            if row.version != version:
                raise StaleDataError
            setattr(row, field, value)

        try:
            self._write(write, "changed")
        except StaleDataError as error:
            raise StoreError(
                "Somebody else changed this screen meanwhile; look at it again, then try once more."
            ) from error

    def _write(self, act: Callable[[Session], None], what: str) -> None:
        """Do all or nothing; once more where another brought the same screen at that moment."""
        for attempt in (1, 2):
            try:
                with Session(self._writing) as session, session.begin():
                    act(session)
                return
            except StaleDataError:
                raise
            except IntegrityError as error:
                if attempt == 2:
                    raise StoreError(f"This could not be {what}: {_short(error)}.") from error
            except SQLAlchemyError as error:
                raise StoreError(f"This could not be {what}: {_short(error)}.") from error

    # -- to find --------------------------------------------------------------------------------

    def get(self, screen_id: str) -> Saved | None:
        """A screen by its id."""
        with _told("read"), Session(self._engine) as session:
            row = session.get(ScreenRow, screen_id)
            return None if row is None else _saved(row)

    def find(
        self,
        text: str = "",
        *,
        page: str | None = None,
        facts: Sequence[tuple[str, str]] = (),
        archived: bool | None = False,
        most: int | None = None,
        skip: int = 0,
    ) -> tuple[list[Saved], int]:
        """Screens, the newest first, and how many there are in all.

        Parameters
        ----------
        text
            In the title, the author's name or a note, whatever the case.
        facts
            Pairs of a kind and a value, all of which a screen must have; see `Draft`.
        archived
            Which of the two; ``None`` for both.
        """
        wanted = select(ScreenRow)
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
        for word in text.split():
            wanted = wanted.where(_mentions(word))
        with _told("read"), Session(self._engine) as session:
            count = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
            part = wanted.order_by(ScreenRow.created.desc(), ScreenRow.id)
            rows = session.scalars(_part(part, most, skip)).all()
            return [_saved(row) for row in rows], count

    def known(self, kind: str) -> list[str]:
        """All values of a kind of fact, sorted; of ``"page"`` as well."""
        column = ScreenRow.page if kind == "page" else FactRow.value
        wanted = select(column).distinct().order_by(column)
        if kind != "page":
            wanted = wanted.where(FactRow.kind == kind)
        with _told("read"), Session(self._engine) as session:
            return list(session.scalars(wanted))

    def picture(self, beginning: str) -> File | None:
        """The picture whose digest begins with these hexadecimal digits, at least 16."""
        if not re.fullmatch(r"[0-9a-f]{16,64}", beginning):
            return None
        with _told("read"), Session(self._engine) as session:
            row = session.scalars(
                select(PictureRow)
                .where(PictureRow.digest.startswith(beginning))
                .options(undefer(PictureRow.data))
                .limit(1)
            ).first()
            return None if row is None else File(row.name, row.data)

    def pictures_of(self, screen_id: str) -> list[File]:
        """The pictures of a screen, the first of them first."""
        with _told("read"), Session(self._engine) as session:
            rows = session.scalars(
                select(PictureRow)
                .join(ShownRow, ShownRow.picture == PictureRow.digest)
                .where(ShownRow.screen == screen_id)
                .order_by(ShownRow.place)
                .options(undefer(PictureRow.data))
            )
            return [File(row.name, row.data) for row in rows]

    def draft(self, screen_id: str) -> Draft:
        """A screen with all that belongs to it, to be taken elsewhere."""
        saved = self.get(screen_id)
        if saved is None:
            raise StoreError("There is no such saved screen; look for it on the Review page.")
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
        """The still picture of a screen; empty if there is no such screen."""
        return self._one(ScreenRow.still, screen_id)

    def arrays(self, screen_id: str) -> bytes:
        """The arrays of a screen, as an NPZ file; empty if there is no such screen."""
        return self._one(ScreenRow.arrays, screen_id)

    def _one(self, column: Any, screen_id: str) -> bytes:
        with _told("read"), Session(self._engine) as session:
            return session.scalar(select(column).where(ScreenRow.id == screen_id)) or b""


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Turn what a database or its file says into a sentence."""
    try:
        yield
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise StoreError(f"Saved screens cannot be {what} here: {_short(error)}.") from error


def _short(error: Exception) -> str:
    """The first line of an error, without the statement and what stood in it."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:160].rstrip(".")


def _part(wanted: Select[Any], most: int | None, skip: int) -> Any:
    return wanted.offset(skip).limit(most) if most is not None else wanted


def _mentions(word: str) -> Any:
    inside = word.lower()
    return or_(
        func.lower(ScreenRow.title).contains(inside, autoescape=True),
        func.lower(ScreenRow.author).contains(inside, autoescape=True),
        exists().where(
            NoteRow.screen == ScreenRow.id,
            or_(
                func.lower(NoteRow.text).contains(inside, autoescape=True),
                func.lower(NoteRow.author).contains(inside, autoescape=True),
            ),
        ),
    )


def _found(session: Session, screen_id: str) -> ScreenRow:
    row = session.get(ScreenRow, screen_id)
    if row is None:
        raise StoreError("There is no such saved screen; look for it on the Review page.")
    return row


def _keep_picture(session: Session, file: File) -> None:
    """Keep a file unless it is there, or is being brought by another at this moment."""
    if session.get(PictureRow, file.digest) is None:
        row = PictureRow(
            digest=file.digest, name=file.name, data=file.data, created=datetime.now(UTC)
        )
        with suppress(IntegrityError), session.begin_nested():
            session.add(row)


def _row(screen_id: str, draft: Draft) -> ScreenRow:
    return ScreenRow(
        id=screen_id,
        title=draft.title,
        author=draft.author,
        created=draft.created or datetime.now(UTC),
        page=draft.page,
        archived=draft.archived,
        manifest=draft.manifest,
        thumbnail=draft.thumbnail,
        still=draft.still,
        arrays=draft.arrays,
    )


def _note_row(screen_id: str, note: Note) -> NoteRow:
    return NoteRow(
        id=note.id, screen=screen_id, author=note.author, text=note.text, created=note.created
    )


def _saved(row: ScreenRow) -> Saved:
    notes = tuple(Note(n.id, n.author, n.text, n.created) for n in row.notes)
    return Saved(
        row.id,
        row.title,
        row.author,
        row.created,
        row.page,
        row.archived,
        row.version,
        row.manifest,
        row.thumbnail,
        notes,
    )
