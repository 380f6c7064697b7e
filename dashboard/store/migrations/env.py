"""Run by alembic: bring the tables up to date on the connection that the store hands over."""

from alembic import context

# The store has opened a transaction and holds the lock; it ends both.
context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=False,
    render_as_batch=True,
)
context.run_migrations()
