"""Saved screens, pictures, facts and notes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "pictures",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "screens",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("page", sa.String(40), nullable=False, index=True),
        sa.Column("archived", sa.Boolean(), nullable=False, index=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("thumbnail", sa.LargeBinary(), nullable=False),
        sa.Column("still", sa.LargeBinary(), nullable=False),
        sa.Column("arrays", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "facts",
        sa.Column("screen", sa.String(32), sa.ForeignKey("screens.id"), primary_key=True),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("value", sa.String(255), primary_key=True),
    )
    op.create_table(
        "shown",
        sa.Column("screen", sa.String(32), sa.ForeignKey("screens.id"), primary_key=True),
        sa.Column("place", sa.Integer(), primary_key=True),
        sa.Column(
            "picture", sa.String(64), sa.ForeignKey("pictures.digest"), nullable=False, index=True
        ),
    )
    op.create_table(
        "notes",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("screen", sa.String(32), sa.ForeignKey("screens.id"), nullable=False, index=True),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    """Take them away again."""
    for table in ("notes", "shown", "facts", "screens", "pictures"):
        op.drop_table(table)
