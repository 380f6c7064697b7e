"""The current tables; `migrations` upgrades any earlier version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Moment(TypeDecorator[datetime]):
    """A time in UTC; some databases drop the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """What all tables derive from."""


class PictureRow(Base):
    """A picture's file, stored once for all screens."""

    __tablename__ = "pictures"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    data: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    created: Mapped[datetime] = mapped_column(Moment)


class ScreenRow(Base):
    """A saved screen; ``version`` rises with every change, so that none is overwritten unseen."""

    __tablename__ = "screens"
    # All columns by which lists are filtered and sorted, so that they read no large rows.
    __table_args__ = (Index("ix_screens_listed", "archived", "created", "id", "page"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    title: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(Moment, index=True)
    page: Mapped[str] = mapped_column(String(40), index=True)
    archived: Mapped[bool] = mapped_column(Boolean, default=False)
    version: Mapped[int] = mapped_column(Integer, default=1)
    manifest: Mapped[str] = mapped_column(Text, deferred=True)
    thumbnail: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    still: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)
    arrays: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class CardRow(Base):
    """Data of a screen for lists, searches and exports, apart from its large columns.

    Attributes
    ----------
    sought
        Title, author and notes, normalized by `dashboard.store.summary.fold`.
    answers
        First answers of the models, from `dashboard.store.summary.first_answers`, in JSON.
    packed
        Bytes that the screen adds to an archive, without its pictures.
    unpacked
        Bytes of its arrays when they are unpacked.
    """

    __tablename__ = "cards"

    screen: Mapped[str] = mapped_column(ForeignKey("screens.id"), primary_key=True)
    sought: Mapped[str] = mapped_column(Text)
    answers: Mapped[str] = mapped_column(Text)
    packed: Mapped[int] = mapped_column(BigInteger)
    unpacked: Mapped[int] = mapped_column(BigInteger)


class FactRow(Base):
    """A fact by which a screen is found: a picture, a model or a class."""

    __tablename__ = "facts"
    __table_args__ = (Index("ix_facts_found", "kind", "value", "screen"),)

    screen: Mapped[str] = mapped_column(ForeignKey("screens.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8), primary_key=True)
    value: Mapped[str] = mapped_column(String(255), primary_key=True)


class ShownRow(Base):
    """The pictures that a screen needs, the main one first."""

    __tablename__ = "shown"

    screen: Mapped[str] = mapped_column(ForeignKey("screens.id"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    picture: Mapped[str] = mapped_column(ForeignKey("pictures.digest"), index=True)


class NoteRow(Base):
    """A note on a screen; never changed."""

    __tablename__ = "notes"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    screen: Mapped[str] = mapped_column(ForeignKey("screens.id"), index=True)
    author: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime] = mapped_column(Moment)
