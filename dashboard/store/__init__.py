"""Saved screens, their pictures and the notes on them, in any database that SQLAlchemy speaks to.

Knows no Streamlit. `dashboard.store.store.Store` is imported where one is opened: what a page needs
until then are the records.
"""

from dashboard.store.records import Draft, File, Note, Saved, StoreError

__all__ = ["Draft", "File", "Note", "Saved", "StoreError"]
