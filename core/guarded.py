"""Pictures of strangers, decoded in a process of their own with limits of memory and time.

What a decoder does cannot be foreseen altogether. Here the worst that it can do is to end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from PIL import Image

from core.errors import BusyError, ImageError, ImageTimeout
from core.images import FORMATS

DECODER = Path(__file__).with_name("decoder.py")
TIMEOUT = 20.0
"""Seconds by the clock; the decoder itself has two of a processor's."""

PATIENCE = 60.0
"""Seconds to wait for the pictures of others."""

_one_at_a_time = threading.Lock()


def read_strange_image(data: bytes, name: str) -> Image.Image:
    """Like `core.read_image`, for a picture that anybody may have sent; one at a time.

    Takes a fifth of a second more, for the process.

    Raises
    ------
    ImageError
        It is none, or takes more memory or time of a processor than a picture may.
    ImageTimeout
        It was not read within `TIMEOUT` seconds of the clock, perhaps as the machine is busy.
    BusyError
        Too many wait, or the system starts no other process at the moment.
    """
    if not _one_at_a_time.acquire(timeout=PATIENCE):
        raise BusyError("Too many pictures are being read; try again in a minute.")
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-W", "ignore", str(DECODER)],
            input=data,
            capture_output=True,  # libraries write to the error stream of their own accord
            timeout=TIMEOUT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ImageTimeout(f"{_stopped(name)} If the machine is busy, try again.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise BusyError(f"{name} cannot be read at the moment ({reason}); try again.") from error
    finally:
        _one_at_a_time.release()
    head, _, content = done.stdout.partition(b"\n")
    if done.returncode != 0 or not head:
        raise ImageError(_stopped(name))
    if head == b"refused":
        raise ImageError(content.decode("utf-8").replace("\0", name, 1))
    width, height = (int(side) for side in head.split())
    return Image.frombytes("RGB", (width, height), content)


def _stopped(name: str) -> str:
    return (
        f"{name} takes too much time or memory to decode and was given up; export it again as "
        f"one of {', '.join(FORMATS[:3])}."
    )
