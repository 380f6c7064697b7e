"""Sweeps made by the application, each in its own thread. Independent of Streamlit.

They are stored in a temporary folder of the process: the samples with pairs of them, and users'
pictures, of which the newest sweeps are kept. A sweep runs while at least one session shows it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

import core
from core import Model, ParallaxError, Stopped, fit_image, samples, sweep
from dashboard.jobs import Job

SAMPLES = "samples"
"""Name of the samples' sweep in the address."""

MOST_PICTURES = 200
"""Most pictures of a sweep made on the page."""

MOST_BYTES = 256 * 2**20
"""Most bytes of the pictures of one sweep made on the page."""

ALL_BYTES = 2**30
"""Most bytes of the pictures of all users' sweeps, on disk."""

MOST_RUNS = 4
"""Most users' sweeps that run or wait at a time; one of them computes."""

KEPT = 6
"""Most users' sweeps stored at a time; the oldest is removed first."""

CHUNK = 8
"""Pictures between two reports of progress."""

GRACE = 1.0
"""Seconds that a sweep runs without a session, as reloading a page disconnects briefly."""

LOOK = 0.25
"""Seconds between two checks whether a waiting sweep is still wanted."""

PATIENCE = 60.0
"""Seconds that the shutdown waits for the pictures being processed."""

_HALF = (448, 224)
"""Height and width in pixels of one of two pictures side by side."""

_PAIRED = 7
"""Number of single samples that are also paired; all pairs would make a long sweep."""

_log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()

Present = Callable[[str], bool]
"""Whether a session is still connected."""


class Readers:
    """The sessions interested in a sweep; thread-safe.

    Parameters
    ----------
    present
        Whether a session is connected.
    first
        The session that started it; ``None`` if it runs regardless of sessions.
    """

    def __init__(self, present: Present, first: str | None) -> None:
        self._present, self._for_good = present, first is None
        self._lock = threading.Lock()
        self._looking = set() if first is None else {first}
        self._kept: set[str] = set()
        self._stopped: set[str] = set()
        self._seen = time.monotonic()

    def join(self, reader: str) -> None:
        """Add a session, unless it has stopped the sweep."""
        with self._lock:
            if reader not in self._stopped:
                self._looking.add(reader)

    def begin(self, reader: str) -> None:
        """Add a session, even if it had stopped the sweep."""
        with self._lock:
            self._stopped.discard(reader)
            self._looking.add(reader)
            self._seen = time.monotonic()

    def stop(self, reader: str) -> None:
        """Stop the sweep for this session only."""
        with self._lock:
            self._stopped.add(reader)
            self._looking.discard(reader)
            self._kept.discard(reader)
            self._seen = -math.inf  # without other sessions it ends at once

    def keep(self, reader: str, wanted: bool) -> None:
        """Set whether it continues when this session leaves."""
        with self._lock:
            (self._kept.add if wanted else self._kept.discard)(reader)

    def keeps(self, reader: str) -> bool:
        """Whether it continues when this session leaves."""
        with self._lock:
            return reader in self._kept

    def looks(self, reader: str) -> bool:
        """Whether this session shows it."""
        with self._lock:
            return reader in self._looking

    def stopped_by(self, reader: str) -> bool:
        """Whether this session stopped it."""
        with self._lock:
            return reader in self._stopped

    def wanted(self) -> bool:
        """Whether any session wants it, or did a moment ago."""
        with self._lock:
            looking = set(self._looking)
            if self._for_good or self._kept & looking:
                return True
        there = {reader for reader in looking if self._present(reader)}  # called without the lock
        with self._lock:
            self._looking -= looking - there - self._kept
            if there:
                self._seen = time.monotonic()
            return bool(there) or time.monotonic() - self._seen < GRACE


class Run(Job):
    """A running sweep, which continues an earlier run if there is one.

    Attributes
    ----------
    name : str
        Name in the address.
    title : str
        Title shown to users.
    plan : core.sweep.Plan
    readers : Readers
        Interested sessions.
    size : int
        Bytes of its pictures on disk.
    done, total : int
        Pictures.
    problem : str
        Why it ended early; empty otherwise.
    """

    def __init__(
        self,
        name: str,
        title: str,
        folder: Path,
        plan: sweep.Plan,
        models: tuple[Model, ...],
        total: int,
        *,
        readers: Readers,
        size: int = 0,
    ) -> None:
        self.name, self.title, self.folder, self.plan = name, title, folder, plan
        self.readers, self.size = readers, size
        self.done, self.total, self.problem = 0, total, ""
        super().__init__(self._work, models, name="sweep")

    def following(self, models: tuple[Model, ...]) -> Run:
        """The next run of the same sweep, which continues where this one ends."""
        found = Run(
            self.name,
            self.title,
            self.folder,
            self.plan,
            models,
            self.total,
            readers=self.readers,
            size=self.size,
        )
        found.done = self.done
        return found

    @property
    def stopped(self) -> bool:
        """Whether it was stopped, or no session wants it; irreversible."""
        if not self._stopped and not self.ended and not self.readers.wanted():
            self._stopped = True
        return self._stopped

    @property
    def finished(self) -> bool:
        """Whether it has processed all pictures."""
        return self.ended and not self.problem and 0 < self.total <= self.done

    def _work(self, models: tuple[Model, ...]) -> None:
        try:
            # An earlier run of the same sweep has ended by the time this one starts.
            while not _one_at_a_time.acquire(timeout=LOOK):
                if self.stopped:
                    return
            try:
                if self.name == SAMPLES and not Path(self.plan.pictures).is_file():
                    write_samples(Path(self.plan.pictures), lambda: not self.stopped)
                with core.watching(self._goes_on, lambda before: not self.stopped):
                    sweep.run(
                        self.plan,
                        self.folder,
                        models=models,
                        strange=self.name != SAMPLES,
                        chunk=CHUNK,
                        on_progress=self._tell,
                        command="Data set page",
                    )
            finally:
                _one_at_a_time.release()
        except Stopped:
            pass
        except ParallaxError as error:
            self.problem = str(error)
        except OSError as error:
            self.problem = f"The sweep cannot be written on the server ({error.strerror or error})."
        except Exception:
            _log.exception("a sweep failed")
            self.problem = "The sweep was ended by an internal error; the log has the details."

    def _tell(self, done: int, total: int) -> bool:
        self.done, self.total = done, total
        return not self.stopped

    def _goes_on(self, done: int, total: int) -> bool:
        return not self.stopped


def _always(reader: str) -> bool:
    return True


class Made:
    """The sweeps made by this process; shared by all sessions.

    Parameters
    ----------
    present
        Whether a session is still connected; called from several threads.
    """

    def __init__(self, present: Present = _always) -> None:
        self._present = present
        self._folder = Path(tempfile.mkdtemp(prefix="parallax-"))
        self._runs: OrderedDict[str, Run] = OrderedDict()
        # Also at exit: a running computation would crash the process.
        self._end = weakref.finalize(self, _end, self._runs, self._folder, PATIENCE)
        self._lock = threading.Lock()

    def close(self, patience: float = PATIENCE) -> None:
        """Stop all sweeps, wait up to ``patience`` seconds, and remove their folder."""
        if self._end.detach():
            _end(self._runs, self._folder, patience)

    def get(self, name: str, reader: str | None = None) -> Run | None:
        """The sweep of this name, finished or not; ``reader`` shows it from now on."""
        with self._lock:
            run = self._runs.get(name)
        if run is not None and reader is not None:
            run.readers.join(reader)
        return run

    def holds(self, folder: Path) -> bool:
        """Whether the sweep in a folder was made by this process, and so is trusted."""
        return folder.is_relative_to(self._folder)

    def samples(self, models: tuple[Model, ...], reader: str | None = None) -> Run:
        """The sweep of the samples, started or continued if necessary.

        A sweep that the session stopped, or that failed, is restarted by `go_on` only.
        """
        with self._lock:
            run = self._runs.get(SAMPLES)
            if run is None:
                place = self._folder / SAMPLES
                place.mkdir(exist_ok=True)
                pictures = place / "pictures.parquet"
                run = Run(
                    SAMPLES,
                    "Samples",
                    place / "sweep",
                    sweep.Plan(str(pictures), target="shared"),
                    models,
                    count_samples(),
                    readers=Readers(self._present, reader),
                )
                self._runs[SAMPLES] = run.start()
                return run
            if run.problem or (reader is not None and run.readers.stopped_by(reader)):
                return run
            return self._again(run, models, reader)

    def go_on(self, name: str, models: tuple[Model, ...], reader: str) -> Run:
        """Continue a sweep stopped by this session or because all sessions left.

        Raises
        ------
        SweepError
            It is no longer held, or too many sweeps run.
        """
        with self._lock:
            run = self._runs.get(name)
            if run is None:
                raise core.SweepError("This sweep is no longer held here; start it again.")
            run.readers.begin(reader)
            return self._again(run, models, reader)

    def begin(
        self,
        title: str,
        files: Sequence[tuple[str, bytes]],
        plan: Callable[[str], sweep.Plan],
        models: tuple[Model, ...],
        reader: str | None = None,
    ) -> Run:
        """Sweep uploaded files; the same files with the same plan reuse the earlier sweep.

        Parameters
        ----------
        files
            Name and bytes of each, `MOST_PICTURES` and `MOST_BYTES` at most.
        plan
            Creates the plan for the folder of the files.
        reader
            The session; ``None`` if the sweep runs regardless of sessions.

        Raises
        ------
        SweepError
            There are no files, too many or too large ones, or too many sweeps run.
        """
        if not 1 <= len(files) <= MOST_PICTURES:
            raise core.SweepError(
                f"{len(files)} pictures were given, expected 1 to {MOST_PICTURES}; a larger sweep "
                "can be made with python -m core.sweep."
            )
        size = sum(len(data) for _, data in files)
        if size > MOST_BYTES:
            raise core.SweepError(
                f"The pictures have {core.size_text(size)}, at most {core.size_text(MOST_BYTES)} "
                "are allowed in one sweep; choose fewer, or make them smaller first."
            )
        digest = hashlib.sha256(repr(plan("").as_dict()).encode())
        for name, data in files:
            digest.update(name.encode() + hashlib.sha256(data).digest())
        key = f"own-{digest.hexdigest()[:20]}"
        with self._lock:
            if key in self._runs:
                if reader is not None:
                    self._runs[key].readers.begin(reader)
                return self._again(self._runs[key], models, reader)
            self._refuse_too_many()
            self._make_room(size)
            place = self._folder / key
            run = Run(
                key,
                title,
                place / "sweep",
                plan(str(place / "pictures")),
                models,
                len(files),
                readers=Readers(self._present, reader),
                size=size,
            )
            self._runs[key] = run  # its bytes count from now on
        try:
            _write(place / "pictures", files)
        except OSError as error:
            with self._lock:
                del self._runs[key]
            shutil.rmtree(place, ignore_errors=True)
            raise core.SweepError(
                f"The pictures cannot be stored on the server ({error.strerror or error}); choose "
                "fewer, or try again later."
            ) from error
        return run.start()

    def _again(self, run: Run, models: tuple[Model, ...], reader: str | None) -> Run:
        """This run, or the next one of the same sweep if it has ended or will end early.

        Nothing is removed in between: the next run starts when this one has ended, and continues
        from its parts.
        """
        if reader is not None:
            run.readers.join(reader)
        if run.finished or not (run.ended or run.stopped):
            return run
        if run.name != SAMPLES:
            self._refuse_too_many()
        following = run.following(models)
        if reader is not None:
            following.readers.begin(reader)
        self._runs[run.name] = following.start()
        return following

    def _own(self, ended: bool) -> list[Run]:
        return [one for one in self._runs.values() if one.name != SAMPLES and one.ended == ended]

    def _refuse_too_many(self) -> None:
        if sum(not one.stopped for one in self._own(ended=False)) >= MOST_RUNS:
            raise core.SweepError(
                f"{MOST_RUNS} sweeps are already running or waiting, which is the limit; try again "
                "when one of them has ended."
            )

    def _make_room(self, size: int) -> None:
        """Remove ended sweeps, the oldest first, until there is room for another one."""
        ended = self._own(ended=True)
        while ended and (
            len(ended) > KEPT - 1 or sum(one.size for one in self._runs.values()) + size > ALL_BYTES
        ):
            oldest = ended.pop(0)
            del self._runs[oldest.name]
            shutil.rmtree(oldest.folder.parent, ignore_errors=True)
        if sum(one.size for one in self._runs.values()) + size > ALL_BYTES:
            raise core.SweepError(
                "The running sweeps already hold as many pictures as this server stores; try "
                "again when one of them has ended."
            )


def _end(runs: Mapping[str, Run], folder: Path, patience: float) -> None:
    """Stop all sweeps, wait for their end, and remove their folder."""
    for run in runs.values():
        run.stop()
    until = time.monotonic() + patience
    for run in runs.values():
        run.wait(max(0.0, until - time.monotonic()))
    shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """Write uploaded files into a folder, in order."""
    folder.mkdir(parents=True)
    for number, (name, data) in enumerate(files):
        (folder / f"{number:03d} {_safe(name)}").write_bytes(data)


def _safe(name: str) -> str:
    """A file name without special meaning in any file system."""
    stem, dot, ending = Path(name).name.rpartition(".")
    clean = re.sub(r"[^\w -]+", "_", stem if dot else ending)[-80:].strip() or "picture"
    return f"{clean}.{re.sub(r'[^A-Za-z]', '', ending).lower()[:4] if dot else 'jpg'}"


def count_samples() -> int:
    """Number of pictures written by `write_samples`."""
    return len(samples()) + math.comb(min(_PAIRED, sum(not one.halves for one in samples())), 2)


def write_samples(path: Path, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Write the samples and pairs of the first single ones to a Parquet file; returns their number.

    Raises
    ------
    Stopped
        ``goes_on``, called before each picture, returned ``False``.
    """
    import pyarrow as pa
    from pyarrow import parquet

    from dashboard.figures import jpeg

    known = samples()
    single = [one for one in known if not one.halves]
    rows = [
        {
            "path": one.title,
            "bytes": one.path.read_bytes(),
            "label": one.classes[0] if one.classes and not one.halves else "",
        }
        for one in known
    ]
    single = single[:_PAIRED]
    halves: dict[str, Image.Image] = {}
    for one in single:
        if not goes_on():
            raise Stopped("Stopped while the samples were prepared.")
        halves[one.id] = fit_image(core.read_image(one.path), "crop", _HALF)
    for left, right in itertools.combinations(single, 2):
        if not goes_on():
            raise Stopped("Stopped while the samples were prepared.")
        both = Image.new("RGB", (2 * _HALF[1], _HALF[0]))
        both.paste(halves[left.id], (0, 0))
        both.paste(halves[right.id], (_HALF[1], 0))
        title = f"{left.title} | {right.title}"
        rows.append({"path": title, "bytes": jpeg(both, 90), "label": ""})
    part = path.with_suffix(".part")
    parquet.write_table(pa.Table.from_pylist(rows), part)
    part.replace(path)
    return len(rows)
