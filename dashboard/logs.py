"""Log records contain what failed, where, and how often, but no user data.

The message of an exception may quote a file's name, a title, a note or an address. So a
traceback is logged as its places and the type of the exception, whichever library logs it.
"""

from __future__ import annotations

import logging
import threading
import traceback
from typing import Any

_log = logging.getLogger(__name__)
_usual = logging.getLogRecordFactory()


def set_up() -> None:
    """Set up logging for the whole process; may be called again."""
    logging.setLogRecordFactory(_record)
    threading.excepthook = _thread_failed


def _record(*given: Any, **options: Any) -> logging.LogRecord:
    record = _usual(*given, **options)
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = places(record.exc_info[1])  # which formatters use unchanged
    return record


def places(error: BaseException) -> str:
    """Places and type of an exception, and of its causes."""
    parts, seen = [], set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = "".join(traceback.format_tb(current.__traceback__)).rstrip()
        parts.append(f"{frames}\n{type(current).__module__}.{type(current).__qualname__}".strip())
        current = current.__cause__ or current.__context__
    return "\nfrom\n".join(parts)


def _thread_failed(args: Any) -> None:
    if args.exc_type is not SystemExit:
        _log.error("a thread failed", exc_info=(args.exc_type, args.exc_value, args.exc_traceback))
