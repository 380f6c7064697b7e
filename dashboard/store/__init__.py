"""Saved screens, their pictures and the notes on them, in any database that SQLAlchemy speaks to.

Knows no Streamlit.
"""

from dashboard.store.store import Draft, File, Note, Saved, Store, StoreError

__all__ = ["Draft", "File", "Note", "Saved", "Store", "StoreError"]
