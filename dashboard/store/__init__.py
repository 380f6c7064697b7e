"""Saved screens, their pictures and the notes on them, in any database that SQLAlchemy speaks to.

Knows no Streamlit. `dashboard.store.store.Store` is imported where one is opened: what a page needs
until then are the records.
"""

from dashboard.store.records import Card, Draft, File, Note, Saved, Size, StoreError

__all__ = ["Card", "Draft", "File", "Note", "Saved", "Size", "StoreError"]
