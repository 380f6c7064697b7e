"""What a browser may say to the server: messages that would keep all others waiting end here, and
uploads that are larger than files of their kind may be.

Streamlit handles every message of its protocol in one thread for all sessions, and has no
setting to disable the messages that this application does not need.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from enum import Enum

from google.protobuf.message import DecodeError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg

MOST_BYTES = 4 * 2**20
"""Bytes of one message. The largest of this application, a box around all points of a scatter, has
one million."""

MOST_FILES = 1000
"""Most files whose upload is requested in one message; Streamlit prepares all of them."""

TOO_BIG = 1009
"""Code by which a websocket is closed for a message that is too large (RFC 6455, 7.4.1)."""

UNWANTED = frozenset({"load_git_info"})
"""Streamlit would run a dozen git commands while all sessions wait, and disclose changed files."""

_log = logging.getLogger(__name__)


class Verdict(Enum):
    """The action for a message."""

    PASSED = "passed"
    IGNORED = "ignored"
    CLOSED = "closed"


def judged(data: bytes) -> Verdict:
    """The action for the bytes of a message; invalid messages are left to Streamlit."""
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
    """An ASGI middleware that passes on allowed messages only; see `judged`.

    Parameters
    ----------
    app
        The wrapped application.
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


# -- uploads --------------------------------------------------------------------------------------

HEAD = 16 * 2**10
"""Bytes of an upload within which the name of its file stands."""

UPLOADS = "/_stcore/upload_file/"
_MODEL = re.compile(rb'filename="[^"\r\n]*\.safetensors"', re.IGNORECASE)


@dataclass
class Most:
    """Bytes that an upload may have; Streamlit knows one limit for all, and none for a widget.

    Attributes
    ----------
    usual
        Of a picture or an archive; ``None`` where models may not be brought, so that Streamlit's
        own limit is that of everything.
    model
        Of a file of safetensors.
    """

    usual: int | None = None
    model: int = 0


most = Most()


def allow_models(nbytes: int) -> None:
    """Let files of safetensors be so large, and leave the limit of all others as it is."""
    megabytes: int = config.get_option("server.maxUploadSize")
    usual = most.usual or megabytes * 2**20
    most.usual, most.model = usual, max(nbytes, usual)
    config.set_option("server.maxUploadSize", -(-most.model // 2**20))


class Uploads:
    """An ASGI layer that ends an upload as soon as it is larger than files of its kind may be.

    Parameters
    ----------
    app
        What it lies around.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        usual = most.usual
        if (
            usual is None
            or scope["type"] != "http"
            or scope["method"] != "PUT"
            or UPLOADS not in scope["path"]
        ):
            await self.app(scope, receive, send)
            return
        head = bytearray()
        received, limit = 0, HEAD + usual

        async def receive_what_may_be_brought() -> Message:
            nonlocal received, limit
            message = await receive()
            body = message.get("body", b"")
            received += len(body)
            if len(head) < HEAD:
                head.extend(body[: HEAD - len(head)])
                limit = HEAD + (most.model if _MODEL.search(head) else usual)
            if received > limit:
                raise HTTPException(413, "File too large")
            return message

        await self.app(scope, receive_what_may_be_brought, send)
