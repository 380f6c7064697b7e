"""Downloads of the catalog's models, bounded in size and time.

A download runs in its own thread, and all requests for the same model share it. A request is
answered within seconds: a download from a host that sends no data, too little or wrong data is
ended. A file is written under a temporary name and renamed when its size and checksum are right.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

from core.errors import WeightsError
from core.models import storage
from core.models.spec import ModelSpec, find_spec

logger = logging.getLogger(__name__)

State = Literal["waiting", "running", "done", "failed", "canceled"]


@dataclass(frozen=True)
class Patience:
    """Limits on the time of a host.

    Attributes
    ----------
    silence
        Seconds without a byte, to connect and while reading.
    window, rate
        In every ``window`` seconds at least ``window · rate`` bytes must arrive.
    deadline
        Seconds for all files of a model.
    """

    silence: float = 5.0
    window: float = 8.0
    rate: float = 10_000.0
    deadline: float = 3600.0


PATIENCE = Patience()

_CHUNK = 2**18
_SMALL = 2**20
"""Most bytes of a description."""

_REDIRECTIONS = 5


class _GivenUp(Exception):
    """The download was canceled."""


class Received(NamedTuple):
    """A complete file, still under its temporary name.

    Attributes
    ----------
    headers
        Headers of all responses, the first of each name; names in lower case.
    """

    part: Path
    sha256: str
    headers: Mapping[str, str]


@contextmanager
def fetched(
    url: str,
    folder: Path,
    largest: int,
    report: Callable[[int, int | None], None],
    patience: Patience = PATIENCE,
    token: str = "",
) -> Iterator[Received]:
    """Get a file; what is left of it is removed at the end.

    Parameters
    ----------
    folder
        Folder of the temporary file; on the file system of the final one.
    largest
        Most bytes accepted.
    report
        Called with the bytes so far and in all (``None`` if unknown); ends the transfer by raising.
    token
        Token of the user; sent only to the host of ``url``.

    Raises
    ------
    WeightsError
        The fault of the host, as a fragment after a colon.
    """
    import requests

    host = urlsplit(url).hostname or url
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, requests.Session() as session:
            try:
                answer, headers = _answer(session, url, patience.silence, token)
                with answer:
                    sha256 = _written(answer, headers, file, largest, report, host)
            except (requests.ConnectTimeout, requests.ConnectionError) as error:
                raise WeightsError(f"{host} cannot be reached") from error
            except requests.Timeout as error:
                raise WeightsError(f"{host} sends no data") from error
            except (requests.RequestException, ValueError) as error:
                raise WeightsError(f"{host} sends a response that cannot be read") from error
        yield Received(part, sha256, headers)
    finally:
        part.unlink(missing_ok=True)


def _answer(session: Any, url: str, silence: float, token: str = "") -> tuple[Any, dict[str, str]]:
    """The response with the file, its content not read yet, and the headers of all responses.

    Redirections are followed here, as the library would read their whole content.
    """
    asked = {"Accept-Encoding": "identity", "User-Agent": "parallax"}
    headers: dict[str, str] = {}
    trusted = urlsplit(url)[:2]
    for _ in range(_REDIRECTIONS + 1):
        host = urlsplit(url).hostname or url
        told = token and urlsplit(url)[:2] == trusted
        sent = asked | ({"Authorization": f"Bearer {token}"} if told else {})
        answer = session.get(url, stream=True, timeout=silence, headers=sent, allow_redirects=False)
        for name, value in answer.headers.items():
            headers.setdefault(name.lower(), value)
        if not answer.is_redirect:
            break
        answer.close()
        following = urljoin(url, answer.headers["Location"])
        if urlsplit(url).scheme == "https" != urlsplit(following).scheme:
            raise WeightsError(f"{host} redirects to an address without encryption")
        url = following
    else:
        raise WeightsError(f"{host} redirects too often")
    if answer.status_code != 200:
        if answer.status_code == 404:
            raise storage.NoSuchFile(f"{host} responds with error 404: it has no such file")
        private = answer.status_code in (401, 403)
        why = ": the files are private or gated; log in with “hf auth login”" if private else ""
        raise WeightsError(f"{host} responds with error {answer.status_code}{why}")
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise WeightsError(f"{host} sends the file in another encoding than requested")
    headers["content-length"] = answer.headers.get("Content-Length", "")
    return answer, headers


def _written(
    answer: Any,
    headers: Mapping[str, str],
    file: Any,
    largest: int,
    report: Callable[[int, int | None], None],
    host: str,
) -> str:
    """Write the received bytes; returns their SHA-256."""
    import urllib3

    sizes = {int(headers[key]) for key in _SIZES if headers.get(key, "").isdecimal()}
    if len(sizes) > 1 or (sizes and max(sizes) > largest):
        raise WeightsError(f"{host} states an impossible size")
    total = sizes.pop() if sizes else None
    digest, done = hashlib.sha256(), 0
    report(0, total)
    while True:
        try:
            # At most one read of the socket: a slow host must not block in one call.
            chunk = answer.raw.read1(_CHUNK, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError as error:
            raise WeightsError(f"{host} has stopped sending data") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise WeightsError(_broken_off(host, done, total)) from error
        if not chunk:
            break
        done += len(chunk)
        if done > (largest if total is None else total):
            raise WeightsError(f"{host} sends more than the stated size")
        digest.update(chunk)
        file.write(chunk)
        report(done, total)
    if not done or (total is not None and done < total):
        raise WeightsError(_broken_off(host, done, total))
    return digest.hexdigest()


_SIZES = ("content-length", "x-linked-size")


def _broken_off(host: str, done: int, total: int | None) -> str:
    return f"{host} broke off after {size_text(done)}" + (
        f" of {size_text(total)}" if total else ""
    )


def size_text(count: int) -> str:
    """A number of bytes as text."""
    return f"{count / 1e6:.0f} MB" if count >= 10**6 else f"{count / 1e3:.0f} kB"


# -- a model ------------------------------------------------------------------------------------


class Download:
    """A download of the files of a model.

    Attributes
    ----------
    model_id
        Id of the model.
    done, total
        Bytes of the current file, received and total; ``None`` if its host does not state it.
    error
        Why it failed, one sentence; empty otherwise.
    """

    def __init__(self, spec: ModelSpec, patience: Patience = PATIENCE) -> None:
        self.model_id = spec.id
        self.done, self.total, self.error = 0, None, ""
        self._spec, self._patience = spec, patience
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._state: State = "waiting"
        self._begun = self._window = time.monotonic()
        self._at_window = self._bytes = 0
        # A daemon, so that exiting the program does not wait for a silent host.
        threading.Thread(target=self._run, name=f"download {spec.id}", daemon=True).start()

    done: int
    total: int | None
    error: str

    @property
    def state(self) -> State:
        """The progress; a download beyond its time limits has failed."""
        self._watch()
        return self._state

    def cancel(self) -> None:
        """Cancel the download and remove its files."""
        self._end("canceled")

    def wait(self, timeout: float | None = None) -> State:
        """Wait for its end, ``timeout`` seconds at most."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.state in ("waiting", "running"):
            left = 0.2 if until is None else min(0.2, until - time.monotonic())
            if left <= 0:
                break
            self._ended.wait(left)
        return self._state

    def _end(self, state: State, reason: str = "") -> None:
        with self._lock:
            if self._ended.is_set():
                return
            if reason:
                logger.warning("cannot download %s: %s", self.model_id, reason)
                self.error = (
                    f"{self._spec.title} cannot be downloaded: {reason}; check this machine's "
                    "network. Models that are already on it, such as the embedded pair, need none."
                )
            self._state = state
            self._ended.set()

    def _watch(self) -> None:
        """Fail if too little arrived recently; called from outside, as the thread may hang."""
        now, patience = time.monotonic(), self._patience
        if self._ended.is_set():
            return
        if now - self._begun > patience.deadline:
            self._end("failed", f"it took longer than {patience.deadline / 60:.0f} minutes")
        elapsed = now - self._window
        if elapsed > patience.window:
            came = self._bytes - self._at_window
            if came < patience.rate * elapsed:
                less = f"the rate was below {patience.rate / 1000:.0f} kB/s"
                self._end("failed", less if came else "its host sends no data")
            self._window, self._at_window = now, self._bytes

    def _run(self) -> None:
        try:
            spec = self._spec
            place = storage.place(spec.source, spec.architecture, spec.weights, spec.revision)
            place.bring(self._fetched)
            self._end("done")
        except _GivenUp:
            pass
        except WeightsError as error:
            self._end("failed", str(error))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._end("failed", f"the files cannot be stored on this machine ({reason})")
        except Exception as error:
            logger.debug("the whole story", exc_info=True)
            self._end("failed", f"of an unexpected {type(error).__name__}")

    @contextmanager
    def _fetched(self, url: str, folder: Path, weights: bool) -> Iterator[Received]:
        """A file whose bytes count towards the progress."""
        before = self._bytes

        def report(done: int, total: int | None) -> None:
            if self._ended.is_set():
                raise _GivenUp
            self._state = "running"
            self.done, self.total, self._bytes = done, total, before + done
            self._watch()

        largest = _largest(self._spec) if weights else _SMALL
        token = _token() if self._spec.weights.startswith(storage.HUB) else ""
        with fetched(url, folder, largest, report, self._patience, token) as received:
            yield received


def _token() -> str:
    """The operator's token for private repositories of the hub; may be empty."""
    import huggingface_hub

    return huggingface_hub.get_token() or ""


def _largest(spec: ModelSpec) -> int:
    """Most bytes of the weights: four per parameter, and half as much again."""
    return int(6e6 * (spec.parameters or 400)) + _SMALL


_current: dict[str, Download] = {}
_current_lock = threading.Lock()


def download(model_id: str) -> Download:
    """Start the download of a model of the catalog, or join the running one.

    Raises
    ------
    UnknownModel
        No such id.
    """
    return _joined(find_spec(model_id))


def _joined(spec: ModelSpec) -> Download:
    with _current_lock:
        found = _current.get(spec.id)
        if found is None or found.state not in ("waiting", "running"):
            found = _current[spec.id] = Download(spec)
        return found


def ensure(spec: ModelSpec) -> None:
    """Fetch a model's files if they are not on this machine, and wait for them.

    Raises
    ------
    WeightsError
        The files are not available.
    """
    if not spec.available:
        arriving = _joined(spec)
        if arriving.wait() != "done":
            raise WeightsError(
                arriving.error or f"The download of {spec.title} was canceled; request it again."
            )
