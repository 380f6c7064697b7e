"""What a browser may say to the server: messages that would keep all others waiting end here.

Streamlit acts on every message of its protocol in the one thread that serves everybody, and has no
switch for those that this application does not need.
"""

from __future__ import annotations

import logging
from enum import Enum

from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg

MOST_BYTES = 4 * 2**20
"""Of one message. The largest of this application, a box around all points of a scatter, has one
million."""

MOST_FILES = 1000
"""Files whose places are asked for in one message; Streamlit prepares each of them at once."""

TOO_BIG = 1009
"""Code by which a websocket is closed for a message that is too large (RFC 6455, 7.4.1)."""

UNWANTED = frozenset({"load_git_info"})
"""Streamlit would run a dozen commands of git while everybody waits, and name changed files."""

_log = logging.getLogger(__name__)


class Verdict(Enum):
    """What becomes of a message."""

    PASSED = "passed"
    IGNORED = "ignored"
    CLOSED = "closed"


def judged(data: bytes) -> Verdict:
    """What becomes of a message of these bytes; what is no message at all is Streamlit's matter."""
    if len(data) > MOST_BYTES:
        return Verdict.CLOSED
    message = BackMsg()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return Verdict.PASSED
    if message.WhichOneof("type") in UNWANTED:
        return Verdict.IGNORED
    if len(message.file_urls_request.file_names) > MOST_FILES:
        return Verdict.CLOSED
    return Verdict.PASSED


class Messages:
    """An ASGI layer that hands on only what may pass; see `judged`.

    Parameters
    ----------
    app
        What it lies around.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return

        async def receive_what_may_pass() -> Message:
            while True:
                message = await receive()
                verdict = judged(message.get("bytes") or b"")
                if verdict is Verdict.PASSED:
                    return message
                if verdict is Verdict.CLOSED:
                    _log.warning("a connection was closed, as its message was too large")
                    await send({"type": "websocket.close", "code": TOO_BIG})
                    return {"type": "websocket.disconnect", "code": TOO_BIG}

        await self.app(scope, receive_what_may_pass, send)
