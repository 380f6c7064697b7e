"""Untrusted pictures, decoded in a separate process with limits on memory and time.

The behavior of a decoder cannot be predicted; a separate process can only fail by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from PIL import Image

from core.errors import BusyError, ImageError, ImageTimeout
from core.images import FORMATS, MAX_SIDE

DECODER = Path(__file__).with_name("decoder.py")
TIMEOUT = 20.0
"""Seconds of wall time; the decoder itself has two seconds of processor time."""

PATIENCE = 60.0
"""Seconds to wait for other requests."""

POLL = 0.2
"""Seconds between two calls of the watcher."""

_one_at_a_time = threading.Lock()


def read_untrusted_image(data: bytes, name: str) -> Image.Image:
    """Like `core.read_image`, for an untrusted picture; one at a time.

    Takes a fifth of a second more, for the process.

    Raises
    ------
    ImageError
        It is not a picture, or takes more memory or processor time than allowed.
    ImageTimeout
        It was not read within `TIMEOUT` seconds of wall time, perhaps on a busy machine.
    BusyError
        Too many requests wait, or the system cannot start another process now.
    """
    if not _one_at_a_time.acquire(timeout=PATIENCE):
        raise BusyError("Too many pictures are being read; try again in a minute.")
    try:
        done = subprocess.run(
            [*_COMMAND, str(DECODER)],
            input=data,
            capture_output=True,  # libraries write to the error stream
            timeout=TIMEOUT,
            env=_environment(),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _late(name) from error
    except OSError as error:
        raise _not_started(name, error) from error
    finally:
        _one_at_a_time.release()
    if done.returncode != 0:
        raise ImageError(_stopped(name))
    return _answered(done.stdout, name)


def read_untrusted_images(
    files: Sequence[tuple[bytes, str]], side: int = MAX_SIDE
) -> list[Image.Image | ImageError]:
    """Like `read_untrusted_image`, for several pictures in one process.

    Parameters
    ----------
    files
        Bytes and name of each.
    side
        Longest side in pixels of the results, where less than `core.images.MAX_SIDE` will do.

    Returns
    -------
    list of Image or ImageError
        In the order of the files; an error in place of a picture that cannot be read, which does
        not affect others.

    Raises
    ------
    BusyError
        Too many requests wait, or the system cannot start another process now.
    """
    found: list[Image.Image | ImageError] = []
    with UntrustedPictures(side=side) as pictures:
        for data, name in files:
            try:
                found.append(pictures.read(data, name))
            except ImageError as error:
                found.append(error)
    return found


class UntrustedPictures:
    """`read_untrusted_image` for many pictures in sequence, with one process for all of them.

    Use it in a ``with`` block, which ends the process, and from one thread. A picture that ends
    the process affects only itself: the next one gets a new process.

    Parameters
    ----------
    look
        Called several times a second during a wait; an exception ends the
        process and is raised by `read`.
    side
        Longest side in pixels of the results.
    """

    def __init__(self, look: Callable[[], object] = lambda: None, side: int = MAX_SIDE) -> None:
        self._look = look
        self._side = side
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._end()

    def read(self, data: bytes, name: str) -> Image.Image:
        """Like `core.read_image`; raises as `read_untrusted_image` does."""
        self._wait_for_others()
        answer: list[bytes] = []
        late = False
        asked = threading.Thread(target=self._ask, args=(data, answer), daemon=True)
        try:
            self._process = self._process or self._started()
            asked.start()
            until = time.monotonic() + TIMEOUT
            while asked.is_alive() and time.monotonic() < until:
                asked.join(POLL)
                self._look()
            late = asked.is_alive()
        except OSError as error:
            raise _not_started(name, error) from error
        finally:
            if not answer:
                self._end(asked)
            _one_at_a_time.release()
        if late:
            raise _late(name)
        if not answer:
            raise ImageError(_stopped(name))
        return _answered(answer[0], name)

    def _wait_for_others(self) -> None:
        until = time.monotonic() + PATIENCE
        while not _one_at_a_time.acquire(timeout=POLL):
            self._look()
            if time.monotonic() > until:
                raise BusyError("Too many pictures are being read; try again in a minute.")

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_COMMAND, str(DECODER), "many", str(self._side)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )

    def _ask(self, data: bytes, answer: list[bytes]) -> None:
        """In a separate thread, as not all systems can wait for pipes with a timeout."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(len(data).to_bytes(8, "big") + data)
            process.stdin.flush()
            length = int.from_bytes(process.stdout.read(8), "big")
            found = process.stdout.read(length)
        except (OSError, ValueError):  # it has ended
            return
        if length and len(found) == length:
            answer.append(found)

    def _end(self, asked: threading.Thread | None = None) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if asked is not None and asked.ident is not None:
            asked.join()  # it reads to the end of the pipes, which are closed afterwards
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


_COMMAND = (sys.executable, "-I", "-W", "ignore")


def _environment() -> dict[str, str]:
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _answered(answer: bytes, name: str) -> Image.Image:
    """The picture from the other process; raises its error."""
    head, _, content = answer.partition(b"\n")
    if not head:
        raise ImageError(_stopped(name))
    if head == b"refused":
        raise ImageError(content.decode("utf-8").replace("\0", name, 1))
    width, height = (int(side) for side in head.split())
    return Image.frombytes("RGB", (width, height), content)


def _late(name: str) -> ImageTimeout:
    return ImageTimeout(f"{_stopped(name)} If the machine is busy, try again.")


def _not_started(name: str, error: OSError) -> BusyError:
    reason = error.strerror or type(error).__name__
    return BusyError(f"{name} cannot be read at the moment ({reason}); try again.")


def _stopped(name: str) -> str:
    return (
        f"{name} takes too much time or memory to decode and was rejected; export it again as "
        f"one of {', '.join(FORMATS[:3])}."
    )
