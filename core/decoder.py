"""The other process of `core.guarded`: a file comes in, pixels or a sentence go out.

Run by its path, so that the public interface and with it PyTorch stay out: it starts in a fifth of
a second and holds 40 MB.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

PROCESSOR_SECONDS = 2
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
    data = sys.stdin.buffer.read()
    limit(images.MEMORY + SPARE)
    out = sys.stdout.buffer
    try:
        image = images.read_image(data, "\0")
    except errors.ImageError as error:
        out.write(b"refused\n" + str(error).encode())
    else:
        out.write(b"%d %d\n" % image.size)
        out.write(image.tobytes())


def limit(memory: int) -> None:
    """Allow so many bytes more than now, and two seconds of a processor; where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + PROCESSOR_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # no Linux
        return
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
