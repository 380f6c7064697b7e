"""The child process of `core.sandbox`: reads a file, writes pixels or an error sentence.

With the arguments ``many`` and the longest side of the results it stays alive: each file is
preceded by its length, and so is each result, as eight bytes, the most significant first; the time
limit starts again with each.

Run by its path, so that neither `core` nor PyTorch is imported: it starts in a fifth of
a second and holds 40 MB.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

PROCESSOR_SECONDS = 2
SPARE = 16 * 2**20
"""Bytes allowed beside those for decoding: the file, and the result."""


def main() -> None:
    """Read a picture from standard input within the limits."""
    bare = types.ModuleType("core")
    bare.__path__ = [str(Path(__file__).parent)]
    sys.modules["core"] = bare
    from PIL import Image

    from core import errors, images

    Image.init()  # all decoders, before memory is limited
    given, out = sys.stdin.buffer, sys.stdout.buffer
    side = int(sys.argv[2]) if len(sys.argv) > 2 else images.MAX_SIDE

    def answer(data: bytes) -> tuple[bytes, bytes]:
        try:
            image = images.read_image(data, "\0")
        except errors.ImageError as error:
            return b"refused\n", str(error).encode()
        image.thumbnail((side, side), Image.Resampling.BOX)  # no-op if not larger
        return b"%d %d\n" % image.size, image.tobytes()

    if sys.argv[1:2] != ["many"]:
        data = given.read()
        limit(images.MEMORY + SPARE)
        out.writelines(answer(data))
        return
    limit_memory(images.MEMORY + images.MAX_FILE + SPARE)
    while len(length := given.read(8)) == 8:
        data = given.read(int.from_bytes(length, "big"))
        limit_time()
        head, content = answer(data)
        out.write((len(head) + len(content)).to_bytes(8, "big"))
        out.writelines((head, content))
        out.flush()


def limit(memory: int) -> None:
    """Limit memory and processor time (two seconds) from now on, where the system can."""
    limit_time(for_good=True)
    limit_memory(memory)


def limit_time(for_good: bool = False) -> None:
    """Allow two seconds of processor time from now on; for good, or until the next call."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + 1 + PROCESSOR_SECONDS
    most = seconds if for_good else resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, most))


def limit_memory(memory: int) -> None:
    """Limit further memory to so many bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # no Linux
        return
    most = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
