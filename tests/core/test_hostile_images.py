"""Files made to hurt: a picture or an `ImageError`, within the limits of memory and time."""

from __future__ import annotations

import contextlib
import itertools
import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import core
from core import sandbox
from core.errors import BusyError, ImageError
from core.images import MAX_SIDE, MEMORY
from tests.support.alone import alone
from tests.support.hostile import HOSTILE, encoded, many_scans

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 2.0
LIGHT = r"""
import os, sys, time, types
bare = types.ModuleType("core")
bare.__path__ = ["core"]
sys.modules["core"] = bare
from PIL import Image
from core import errors, images
Image.init()
def most():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
def measured(path):
    data = open(path, "rb").read()
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts from here
    before, begun = most(), time.process_time()
    try:
        images.read_image(data, "it")
        told = "a picture"
    except errors.ImageError as error:
        told = str(error)
    return f"{os.path.basename(path)}\t{most() - before}\t{time.process_time() - begun}\t{told}\n"
for path in sys.argv[1:]:
    if not os.fork():
        os.write(1, measured(path).encode())
        os._exit(0)
    assert os.wait()[1] == 0, path
"""
"""Reads each file in a process of its own, which holds nothing else; prints what that took."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def read_alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, float, str]]:
    """For each hostile file: most bytes, seconds of the processor, and what came of it."""
    folder = tmp_path_factory.mktemp("hostile")
    for number, make in enumerate(HOSTILE.values()):
        (folder / str(number)).write_bytes(make())
    paths = [str(folder / str(number)) for number in range(len(HOSTILE))]
    command = [sys.executable, "-W", "ignore", "-c", LIGHT, *paths]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=200, check=True)
    lines = [line.split("\t", 3) for line in done.stdout.decode().splitlines()]
    assert len(lines) == len(HOSTILE), done.stderr
    return {
        name: (int(kilobytes) * 1024, float(seconds), told)
        for name, (_, kilobytes, seconds, told) in zip(HOSTILE, lines, strict=True)
    }


@linux
@pytest.mark.parametrize("name", HOSTILE)
def test_memory_and_time_are_bounded(
    name: str, read_alone: dict[str, tuple[int, float, str]]
) -> None:
    size, seconds, told = read_alone[name]
    assert size <= MEMORY
    assert seconds <= SECONDS
    assert told == "a picture" or told.startswith("it "), told


def test_usual_large_pictures_are_read() -> None:
    for kind, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})):
        image = core.read_image(encoded(Image.new("RGB", (6000, 4000), "teal"), kind, **options))
        assert image.size == (MAX_SIDE, round(MAX_SIDE * 2 / 3))
        np.testing.assert_allclose(np.asarray(image)[5, 5], (0, 128, 128), atol=3)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "1", "CMYK", "I", "F", "I;16"])
def test_conversion_in_bands_changes_nothing(mode: str) -> None:
    """A tall picture, of several bands, is what its single rows are."""
    gradient = Image.linear_gradient("L").resize((8, 700))
    if mode == "I;16":
        tall = Image.fromarray(np.asarray(gradient, dtype=np.uint16) * 257)
    else:
        tall = gradient.convert("RGB" if mode in ("P", "CMYK") else mode).convert(mode)
        if mode in ("RGBA", "LA"):
            tall.putalpha(Image.linear_gradient("L").resize((8, 700)).transpose(Image.Transpose(1)))
    kind = "PNG" if mode in ("P", "RGBA", "LA", "1", "I;16") else "TIFF"
    whole = np.asarray(core.read_image(encoded(tall, kind)))
    assert whole.shape == (700, 8, 3)
    if mode in ("I", "F"):
        wanted = np.asarray(gradient)
        np.testing.assert_allclose(whole[..., 0], wanted, atol=1)
        return
    for top in (0, 255, 256, 400, 699):
        row = core.read_image(encoded(tall.crop((0, top, 8, top + 1)), kind))
        np.testing.assert_array_equal(np.asarray(row)[0], whole[top])


def test_no_filter_of_warnings_is_touched() -> None:
    """The filters belong to the whole program; other threads see a change."""
    seen = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            seen.append(tuple(warnings.filters))

    before, watcher = tuple(warnings.filters), threading.Thread(target=watch)
    watcher.start()
    data = encoded(Image.new("RGB", (900, 900)), "PNG")
    for _ in range(20):
        core.read_image(data)
    ended.set()
    watcher.join()
    assert set(seen) == {before}


def test_nothing_of_the_file_but_pixels_stays() -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    image = core.read_image(encoded(Image.new("RGB", (9, 9)), "JPEG", exif=exif))
    assert image.info == {}
    assert dict(image.getexif()) == {}


# -- in a process of its own ----------------------------------------------------------------------


def test_a_strange_picture_is_the_same_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for image, kind in ((Image.linear_gradient("L"), "PNG"), (Image.new("P", (70, 30)), "GIF")):
        data = encoded(image, kind, exif=exif)
        found, wanted = core.read_untrusted_image(data, "x.png"), core.read_image(data, "x.png")
        np.testing.assert_array_equal(np.asarray(found), np.asarray(wanted))


def test_a_refusal_is_the_same_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    broken = encoded(Image.new("RGB", (50, 50)), "TIFF", compression="tiff_deflate")[:-90]
    for data in (b"", b"not a picture", many_scans(3000, 3000), broken):
        for read in (core.read_image, core.read_untrusted_image):
            with pytest.raises(ImageError) as caught:
                read(data, "a \x00 \n name.png")
            assert str(caught.value).startswith("a \x00 \n name.png ")
        assert len({str(caught.value)}) == 1
    capfd.readouterr()
    with pytest.raises(ImageError):
        core.read_untrusted_image(broken, "x")
    assert capfd.readouterr() == ("", ""), "libraries write errors of their own accord"


HANG = "import sys; sys.stdin.buffer.read()\nwhile True: pass"
HANG_AFTER_HEAD = (
    "import sys; out = sys.stdout.buffer; out.write(bytes(7) + bytes([99])); out.flush()\n"
    "while True: pass"
)


@pytest.mark.parametrize("code", [HANG, "raise SystemExit(3)", "import os; os.abort()", ""])
def test_whatever_a_decoder_does_it_ends(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = tmp_path / "decoder.py"
    decoder.write_text(code)
    monkeypatch.setattr(sandbox, "DECODER", decoder)
    monkeypatch.setattr(sandbox, "TIMEOUT", 1.0)
    begun = time.monotonic()
    with pytest.raises(ImageError, match=r"^it takes too much time or memory"):
        core.read_untrusted_image(b"x" * 10**6, "it")
    assert time.monotonic() - begun < 5


def test_what_the_clock_ended_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decoder has two seconds of a processor; the clock runs out on a busy machine."""
    decoder = tmp_path / "decoder.py"
    decoder.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(sandbox, "DECODER", decoder)
    monkeypatch.setattr(sandbox, "TIMEOUT", 0.5)
    with pytest.raises(ImageError, match=r"^it takes too much time .* try again\.$") as caught:
        core.read_untrusted_image(b"x", "it")
    assert isinstance(caught.value, BusyError)


def test_a_system_that_starts_no_process_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(BusyError, match=r"^it cannot be read .*unavailable\); try again\.$"):
        core.read_untrusted_image(b"x", "it")


DIES_AT_BAD = """
import os, sys
while len(length := sys.stdin.buffer.read(8)) == 8:
    bad = sys.stdin.buffer.read(int.from_bytes(length, "big")) == b"bad"
    sys.stdout.buffer.write((7).to_bytes(8, "big") + (b"1 1\\nx" if bad else b"1 1\\n123"))
    sys.stdout.buffer.flush()
    if bad:  # begun and not ended
        END
"""


@pytest.mark.parametrize(
    ("bad", "end"),
    [
        *itertools.product([(0,), (1,), (3,), (0, 1, 2, 3), (0, 3)], ["os.abort()", "sys.exit(0)"]),
        ((1,), "while True: pass"),
        *(  # each takes the two seconds that a file may take
            pytest.param(bad, "while True: pass", marks=pytest.mark.slow)
            for bad in ((0,), (3,), (0, 3))
        ),
    ],
)
def test_a_file_that_ends_the_decoder_costs_no_other(
    bad: tuple[int, ...], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = tmp_path / "decoder.py"
    decoder.write_text(DIES_AT_BAD.replace("END", end))
    monkeypatch.setattr(sandbox, "DECODER", decoder)
    monkeypatch.setattr(sandbox, "TIMEOUT", 1.5)
    files = [(b"bad" if n in bad else b"good", f"number {n}") for n in range(4)]
    found = core.read_untrusted_images(files)
    for number, one in enumerate(found):
        if number in bad:
            assert str(one).startswith(f"number {number} takes too much time or memory")
        else:
            assert isinstance(one, Image.Image)
    assert len(found) == 4


def test_some_pictures_share_a_process_and_come_back_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[object] = []
    start = subprocess.Popen

    def counted(*args: object, **options: object) -> object:
        begun.append(args)
        return start(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", counted)
    image = Image.radial_gradient("L").resize((300, 200)).convert("RGB")
    data = encoded(image, "PNG")
    whole, refused, again = core.read_untrusted_images([(data, "a"), (b"none", "b"), (data, "c")])
    assert len(begun) == 1
    assert isinstance(whole, Image.Image)
    assert isinstance(again, Image.Image)
    assert core.digest(whole) == core.digest(again) == core.digest(image)
    assert str(refused).startswith("b is not a picture")
    [small] = core.read_untrusted_images([(data, "a")], 96)
    assert isinstance(small, Image.Image)
    assert small.size == (96, 64)
    assert core.read_untrusted_images([]) == []


@linux
def test_the_decoder_limits_its_memory_and_time() -> None:
    line = (
        "import sys, resource; sys.path.insert(0, 'core'); import decoder; decoder.limit(2**20);"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0] <= 5)\n"
        "try: bytearray(2**28)\n"
        "except MemoryError: print('refused')"
    )
    assert alone(line).stdout.split() == ["True", "refused"]


def test_pictures_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.new("RGB", (9, 9)), "PNG")
    at_once, most = [0], [0]
    run = subprocess.run

    def counted(*args: object, **options: object) -> object:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        try:
            return run(*args, **options)  # type: ignore[call-overload]
        finally:
            at_once[0] -= 1

    monkeypatch.setattr(subprocess, "run", counted)
    threads = [
        threading.Thread(target=core.read_untrusted_image, args=(data, "x")) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    monkeypatch.setattr(sandbox, "PATIENCE", 0.05)
    running, ending = threading.Event(), threading.Event()

    def hold(*_: object, **__: object) -> object:
        running.set()
        ending.wait(20)
        return subprocess.CompletedProcess("", 0, b"1 1\n123")

    monkeypatch.setattr(subprocess, "run", hold)
    holder = threading.Thread(target=core.read_untrusted_image, args=(data, "x"))
    holder.start()
    running.wait(20)
    with pytest.raises(BusyError, match="try again"):
        core.read_untrusted_image(data, "x")
    ending.set()
    holder.join()


def test_many_pictures_take_one_process_and_a_bad_one_costs_itself_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[int] = []
    popen = subprocess.Popen

    def counted(*args: object, **options: object) -> object:
        started.append(1)
        return popen(*args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "Popen", counted)
    good = encoded(Image.linear_gradient("L"), "PNG")
    with core.UntrustedPictures() as strange:
        for _ in range(5):
            np.testing.assert_array_equal(
                np.asarray(strange.read(good, "x")), np.asarray(core.read_image(good))
            )
        for data in (b"", b"not a picture", many_scans(3000, 3000)):
            with pytest.raises(ImageError) as caught:
                strange.read(data, "a \x00 name.png")
            assert str(caught.value).startswith("a \x00 name.png ")
        assert strange.read(good, "x").mode == "RGB"
        assert len(started) == 1
        assert strange._process is not None
        strange._process.kill()
        with pytest.raises(ImageError, match="rejected"):
            strange.read(good, "x")
        assert strange.read(good, "x").mode == "RGB"
        assert len(started) == 2
        last = strange._process
    assert last.poll() is not None, "the process has ended with the block"


@pytest.mark.parametrize("code", [HANG, HANG_AFTER_HEAD, "raise SystemExit(3)", ""])
def test_whatever_a_decoder_of_many_does_it_ends(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = tmp_path / "decoder.py"
    decoder.write_text(code)
    monkeypatch.setattr(sandbox, "DECODER", decoder)
    monkeypatch.setattr(sandbox, "TIMEOUT", 1.0)
    begun = time.monotonic()
    refused = pytest.raises(ImageError, match=r"^it takes too much time or memory")
    with core.UntrustedPictures() as strange, refused:
        strange.read(b"x" * 10**6, "it")
    assert time.monotonic() - begun < 5


def test_a_reader_who_leaves_ends_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Left(Exception):
        pass

    def leave() -> None:
        if time.monotonic() - begun > 0.5:
            raise Left

    decoder = tmp_path / "decoder.py"
    decoder.write_text(HANG)
    monkeypatch.setattr(sandbox, "DECODER", decoder)
    begun = time.monotonic()
    with core.UntrustedPictures(leave) as strange:
        with pytest.raises(Left):
            strange.read(b"x" * 10**6, "it")
        assert strange._process is None
    assert time.monotonic() - begun < 3
    monkeypatch.undo()
    assert core.read_untrusted_image(encoded(Image.new("L", (9, 9)), "PNG"), "x").size == (9, 9)


@linux
def test_each_of_many_has_its_own_two_seconds() -> None:
    line = (
        "import sys, resource, time; sys.path.insert(0, 'core'); import decoder\n"
        "for _ in range(2):\n"
        "    decoder.limit_time()\n"
        "    begun = time.process_time()\n"
        "    while time.process_time() < begun + 1.5: pass\n"
        "print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    )
    assert 4 <= int(alone(line).stdout) <= 7


# -- any bytes ------------------------------------------------------------------------------------

CASES = 3000
KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def seeds() -> list[bytes]:
    """Small valid files of every kind."""
    image = Image.radial_gradient("L").resize((40, 30)).convert("RGB")
    found = [encoded(image, kind) for kind in KINDS]
    found += [encoded(image.convert("P"), "PNG"), encoded(image.convert("RGBA"), "WEBP")]
    found += [encoded(image, "JPEG", progressive=True)]
    return found + [
        encoded(image.convert(mode), "TIFF", compression=compression)
        for mode, compression in (("F", "tiff_deflate"), ("CMYK", "tiff_lzw"), ("1", "group4"))
    ]


def peak() -> int:
    """Most memory that this process held so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def mutated(data: bytes, random: random.Random) -> bytes:
    """Some bytes changed, cut out, repeated or torn off."""
    content = bytearray(data)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(max(1, len(content)))
        what = random.randrange(5)
        if what == 0:
            content[at : at + 1] = bytes([random.randrange(256)])
        elif what == 1:
            content[at : at + 4] = random.choice(
                (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
            )
        elif what == 2:
            del content[at : at + random.randint(1, 30)]
        elif what == 3:
            content[at:at] = content[at : at + 20] * random.randint(1, 5)
        else:
            del content[random.randrange(len(content) // 2, len(content) + 1) :]
    return bytes(content)


@linux
def test_any_bytes_are_a_picture_or_an_image_error() -> None:
    chance, files, read = random.Random(0), seeds(), 0
    before = peak()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case in range(CASES):
            data = mutated(files[case % len(files)], chance)
            begun = time.thread_time()
            with contextlib.suppress(ImageError):
                assert core.read_image(data).mode == "RGB"
                read += 1
            assert time.thread_time() - begun < SECONDS
    assert 0.05 < read / CASES < 0.95, "both happen"
    assert peak() - before <= MEMORY
