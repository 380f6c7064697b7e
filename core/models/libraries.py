"""The libraries of networks, imported when first needed and by one thread at a time."""

from __future__ import annotations

import importlib
import threading

_one_at_a_time = threading.Lock()
_loaded: set[str] = set()


def ensure_imported(library: str) -> None:
    """Import timm, torchvision or transformers; call it before importing parts of it.

    Where one thread imports a package and another a part of it, Python resolves the deadlock by
    returning a half-imported module. timm and transformers import parts of torchvision, so it is
    first.
    """
    if library in _loaded:
        return
    with _one_at_a_time:
        for name in ("torchvision", library):
            importlib.import_module(name)
            _loaded.add(name)
