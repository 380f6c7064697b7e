"""Pictures of strangers, decoded in a process of their own with limits of memory and time.

What a decoder does cannot be foreseen altogether. Here the worst that it can do is to end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from core.errors import BusyError, ImageError
from core.images import FORMATS, MAX_SIDE

DECODER = Path(__file__).with_name("decoder.py")
TIMEOUT = 20.0
"""Seconds by the clock; the decoder itself has two of a processor's for each file."""

PATIENCE = 60.0
"""Seconds to wait for the pictures of others."""

_one_at_a_time = threading.Lock()


def read_strange_image(data: bytes, name: str) -> Image.Image:
    """Like `core.read_image`, for a picture that anybody may have sent; one at a time.

    Takes a fifth of a second more, for the process.

    Raises
    ------
    ImageError
        It is none, or takes more memory or time than a picture may.
    BusyError
        Too many wait.
    """
    [found] = read_strange_images([(data, name)])
    if isinstance(found, ImageError):
        raise found
    return found


def read_strange_images(
    files: Sequence[tuple[bytes, str]], side: int = MAX_SIDE
) -> list[Image.Image | ImageError]:
    """Like `read_strange_image`, for some pictures that share a process as long as it lasts.

    Parameters
    ----------
    files
        Bytes and name of each. All are held at a time, decoded too: give a few.
    side
        Longest side in pixels of what comes back, where less than `core.images.MAX_SIDE` will do.

    Returns
    -------
    list of Image or ImageError
        In the order of the files; the error of one that cannot be read, which costs no other.

    Raises
    ------
    BusyError
        Too many wait.
    """
    found: list[Image.Image | ImageError] = []
    while len(found) < len(files):
        rest = files[len(found) :]
        found += _decoded(rest, side)
    return found


def _decoded(files: Sequence[tuple[bytes, str]], side: int) -> list[Image.Image | ImageError]:
    """What one process makes of the first files: at least one, up to that which it ends at."""
    if not _one_at_a_time.acquire(timeout=PATIENCE):
        raise BusyError("Too many pictures are being read; try again in a minute.")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", str(DECODER), str(side)],
            input=b"".join(b"%d\n" % len(data) + data for data, _ in files),
            capture_output=True,  # libraries write to the error stream of their own accord
            timeout=TIMEOUT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            check=False,
        )
        out, whole = done.stdout, done.returncode == 0
    except subprocess.TimeoutExpired as error:
        out, whole = error.stdout or b"", False
    finally:
        _one_at_a_time.release()
    found = list(_answers(out, [name for _, name in files]))
    if whole and len(found) == len(files):
        return found
    # It ended before its time, at the file after those that are answered.
    return [
        *found[: len(files) - 1],
        ImageError(_stopped(files[min(len(found), len(files) - 1)][1])),
    ]


def _answers(out: bytes, names: Sequence[str]) -> Iterator[Image.Image | ImageError]:
    """What the other process said, as far as it is complete."""
    at = 0
    for name in names:
        end = out.find(b"\n", at, at + 40)
        words = out[at:end].split() if end >= 0 else []
        refused = len(words) == 2 and words[0] == b"refused"
        if not refused and not (len(words) == 2 and words[0].isdigit() and words[1].isdigit()):
            return
        size = (0, int(words[1])) if refused else (int(words[0]), int(words[1]))
        at = end + 1 + (size[1] if refused else 3 * size[0] * size[1])
        if at > len(out):
            return
        content = memoryview(out)[end + 1 : at]
        if refused:
            yield ImageError(bytes(content).decode("utf-8").replace("\0", name, 1))
        else:
            yield Image.frombytes("RGB", size, content)


def _stopped(name: str) -> str:
    return (
        f"{name} takes too much time or memory to decode and was given up; export it again as "
        f"one of {', '.join(FORMATS[:3])}."
    )
