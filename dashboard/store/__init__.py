"""Saved screens, their pictures and the notes on them, in any database that SQLAlchemy supports.

Independent of Streamlit. `dashboard.store.store.Store` is imported only where one is opened; until
then pages need only the records.
"""

from dashboard.store.records import Card, Draft, File, Note, Saved, Size, StoreError

__all__ = ["Card", "Draft", "File", "Note", "Saved", "Size", "StoreError"]
