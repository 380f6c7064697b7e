"""The other process of `core.guarded`: files come in, pixels or sentences go out.

Each file comes after a line that holds its size, and goes as a line that holds width and height,
with its pixels, or ``refused`` and a size, with a sentence.

Run by its path, so that the public interface and with it PyTorch stay out: it starts in a fifth of
a second and holds 40 MB.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

PROCESSOR_SECONDS = 2
"""Of a processor, for each file."""

SPARE = 16 * 2**20
"""Bytes beside those that decoding may take: the file, and the answer."""


def main() -> None:
    """Read a picture from standard input within the limits."""
    bare = types.ModuleType("core")
    bare.__path__ = [str(Path(__file__).parent)]
    sys.modules["core"] = bare
    from PIL import Image

    from core import errors, images

    Image.init()  # all decoders, before memory is limited
    side = int(sys.argv[1]) if len(sys.argv) > 1 else images.MAX_SIDE
    files = []
    while head := sys.stdin.buffer.readline():
        files.append(sys.stdin.buffer.read(int(head)))
    limit(images.MEMORY + SPARE, len(files))
    out = sys.stdout.buffer
    for data in files:
        try:
            image = images.read_image(data, "\0")
        except errors.ImageError as error:
            told = str(error).encode()
            out.write(b"refused %d\n" % len(told) + told)
        else:
            image.thumbnail((side, side), Image.Resampling.BOX)  # nothing, if it is no larger
            out.write(b"%d %d\n" % image.size)
            out.write(image.tobytes())
            del image
        out.flush()  # what comes next may end the process


def limit(memory: int, files: int = 1) -> None:
    """Allow so many bytes more than now, and two seconds of a processor a file; if it is possible.

    How many bytes and seconds a process has is limited on Linux only, seconds on macOS as well.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + PROCESSOR_SECONDS * files
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # no Linux
        return
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
