"""Lists, searches and exports without the large columns."""

import json

import sqlalchemy as sa
from alembic import op

from dashboard.store import summary

revision = "0002"
down_revision = "0001"

AT_A_TIME = 20
"""Manifests that are held at once; an earlier version bounded them only when it read them."""


def upgrade() -> None:
    """Make the table and its indices, and fill it from the screens that are there."""
    op.create_table(
        "cards",
        sa.Column("screen", sa.String(32), sa.ForeignKey("screens.id"), primary_key=True),
        sa.Column("sought", sa.Text(), nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.Column("packed", sa.BigInteger(), nullable=False),
        sa.Column("unpacked", sa.BigInteger(), nullable=False),
    )
    op.drop_index("ix_screens_archived", "screens")
    op.create_index("ix_screens_listed", "screens", ["archived", "created", "id", "page"])
    op.create_index("ix_facts_found", "facts", ["kind", "value", "screen"])
    _fill(op.get_bind())


def _fill(connection: sa.Connection) -> None:
    screens = sa.table(
        "screens",
        *(sa.column(name) for name in ("id", "title", "author", "created", "manifest")),
        *(sa.column(name, sa.LargeBinary) for name in ("thumbnail", "still", "arrays")),
    )
    notes = sa.table("notes", *(sa.column(name) for name in ("screen", "author", "text")))
    cards = sa.table(
        "cards",
        *(sa.column(name) for name in ("screen", "sought", "answers", "packed", "unpacked")),
    )
    size = sa.func.length(sa.cast(screens.c.manifest, sa.LargeBinary))
    if connection.dialect.name == "postgresql":
        size = sa.func.octet_length(screens.c.manifest)
    files = sum(
        (sa.func.length(screens.c[name]) for name in ("thumbnail", "still", "arrays")),
        start=sa.literal(0),
    )
    ids = list(connection.scalars(sa.select(screens.c.id).order_by(screens.c.id)))
    for start in range(0, len(ids), AT_A_TIME):
        some = ids[start : start + AT_A_TIME]
        said: dict[str, list[str]] = {name: [] for name in some}
        for screen, author, text in connection.execute(
            sa.select(notes.c.screen, notes.c.author, notes.c.text).where(notes.c.screen.in_(some))
        ):
            said[screen] += [author, text]
        rows = connection.execute(
            sa.select(
                screens.c.id,
                screens.c.title,
                screens.c.author,
                sa.case((size <= summary.MOST_MANIFEST, screens.c.manifest), else_=""),
                size,
                files,
            ).where(screens.c.id.in_(some))
        ).all()
        for screen, title, author, manifest, long, packed in rows:
            connection.execute(
                cards.insert().values(
                    screen=screen,
                    sought=summary.sought([title, author, *said[screen]]),
                    answers=json.dumps(summary.first_answers(manifest)),
                    packed=packed + long,
                    unpacked=summary.unpacked_arrays(manifest),
                )
            )


def downgrade() -> None:
    """Take it away again; nothing is lost with it."""
    op.drop_index("ix_facts_found", "facts")
    op.drop_index("ix_screens_listed", "screens")
    op.create_index("ix_screens_archived", "screens", ["archived"])
    op.drop_table("cards")
