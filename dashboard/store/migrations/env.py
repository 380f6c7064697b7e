"""Run by alembic: upgrade the tables on the connection passed by the store."""

from alembic import context

# The store has opened a transaction and holds the lock; it ends both.
context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=False,
    render_as_batch=True,
)
context.run_migrations()
