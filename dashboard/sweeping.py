"""Sweeps that the application makes itself, each in a thread of its own. Knows no Streamlit.

They live in a folder that goes with the process: the samples with pairs of them, and what visitors
brought, of which the newest are kept.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

import core
from core import Model, ParallaxError, fit_image, samples, sweep
from dashboard.background import Job

SAMPLES = "samples"
"""What the address calls the sweep of the samples."""

MOST_PICTURES = 200
"""Pictures of a sweep that is made from the page."""

KEPT = 6
"""Sweeps of visitors that are kept at a time; the oldest goes first."""

CHUNK = 8
"""Pictures between two looks at the progress."""

PATIENCE = 60.0
"""Seconds that the end of the process waits for the pictures that are under way."""

_HALF = (448, 224)
"""Height and width in pixels of one of two pictures side by side."""

_PAIRED = 7
"""How many of the single samples are also shown two by two; all would make a long sweep."""

_log = logging.getLogger(__name__)
_one_at_a_time = threading.Lock()


class Run(Job):
    """A sweep that is being made.

    Attributes
    ----------
    name : str
        What the address calls it.
    title : str
        For people.
    done, total : int
        Pictures.
    problem : str
        Why it ended before its time; empty otherwise.
    """

    def __init__(
        self,
        name: str,
        title: str,
        folder: Path,
        plan: sweep.Plan,
        models: tuple[Model, Model],
        total: int,
    ) -> None:
        self.name, self.title, self.folder = name, title, folder
        self.done, self.total, self.problem = 0, total, ""
        self._plan = plan
        super().__init__(self._work, models, name="sweep")

    def _work(self, models: tuple[Model, Model]) -> None:
        try:
            with _one_at_a_time:
                if not self.stopped:
                    sweep.run(
                        self._plan,
                        self.folder,
                        models=models,
                        chunk=CHUNK,
                        on_progress=self._tell,
                        command="Data set page",
                    )
        except ParallaxError as error:
            self.problem = str(error)
        except Exception:
            _log.exception("a sweep failed")
            self.problem = "The sweep ended by a fault of the program, which is in its log."

    def _tell(self, done: int, total: int) -> bool:
        self.done, self.total = done, total
        return not self.stopped


class Made:
    """The sweeps that this process makes and holds; shared by all sessions."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="parallax-"))
        self._runs: OrderedDict[str, Run] = OrderedDict()
        # Also at the end of the process: a network that computes on would end it with a crash.
        weakref.finalize(self, _end, self._runs, self._folder)
        self._lock = threading.Lock()

    def get(self, name: str) -> Run | None:
        """The sweep of this name, finished or not."""
        with self._lock:
            return self._runs.get(name)

    def samples(self, models: tuple[Model, Model]) -> Run:
        """The sweep of the samples; begun when it is asked for first."""
        with self._lock:
            if SAMPLES not in self._runs or self._runs[SAMPLES].problem:
                place = self._folder / SAMPLES
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                total = write_samples(place / "pictures.parquet")
                plan = sweep.Plan(str(place / "pictures.parquet"), target="shared")
                run = Run(SAMPLES, "Samples", place / "sweep", plan, models, total)
                self._runs[SAMPLES] = run.start()
            return self._runs[SAMPLES]

    def begin(
        self,
        title: str,
        files: Sequence[tuple[str, bytes]],
        plan: Callable[[str], sweep.Plan],
        models: tuple[Model, Model],
    ) -> Run:
        """Sweep files that somebody brought; the same files with the same plan are not swept anew.

        Parameters
        ----------
        files
            Name and bytes of each, `MOST_PICTURES` at most.
        plan
            Makes the plan for the folder that they are put in.

        Raises
        ------
        SweepError
            No file, or too many.
        """
        if not 1 <= len(files) <= MOST_PICTURES:
            raise core.SweepError(
                f"{len(files)} pictures were given, expected 1 to {MOST_PICTURES}; a larger sweep "
                "is made with python -m core.sweep."
            )
        digest = hashlib.sha256(repr(plan("").as_dict()).encode())
        for name, data in files:
            digest.update(name.encode() + hashlib.sha256(data).digest())
        key = f"own-{digest.hexdigest()[:20]}"
        with self._lock:
            if key in self._runs and not self._runs[key].problem and not self._runs[key].stopped:
                return self._runs[key]
            place = self._folder / key
            shutil.rmtree(place, ignore_errors=True)
            pictures = place / "pictures"
            pictures.mkdir(parents=True)
            for number, (name, data) in enumerate(files):
                (pictures / f"{number:03d} {_safe(name)}").write_bytes(data)
            run = Run(key, title, place / "sweep", plan(str(pictures)), models, len(files))
            self._runs[key] = run.start()
            own = [name for name, one in self._runs.items() if name != SAMPLES and one.ended]
            for name in own[: max(0, len(own) - KEPT)]:
                shutil.rmtree(self._runs.pop(name).folder.parent, ignore_errors=True)
        return run


def _end(runs: Mapping[str, Run], folder: Path) -> None:
    """Stop all sweeps, wait until they have let go, and take their folder away."""
    for run in runs.values():
        run.stop()
    for run in runs.values():
        run.wait(PATIENCE)
    shutil.rmtree(folder, ignore_errors=True)


def _safe(name: str) -> str:
    """A file name that means nothing to any file system."""
    stem, dot, ending = Path(name).name.rpartition(".")
    clean = re.sub(r"[^\w -]+", "_", stem if dot else ending)[-80:].strip() or "picture"
    return f"{clean}.{re.sub(r'[^A-Za-z]', '', ending).lower()[:4] if dot else 'jpg'}"


def write_samples(path: Path) -> int:
    """The samples and every two of the first single ones side by side, in Parquet; how many."""
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
    halves = {one.id: fit_image(core.read_image(one.path), "crop", _HALF) for one in single}
    for left, right in itertools.combinations(single, 2):
        both = Image.new("RGB", (2 * _HALF[1], _HALF[0]))
        both.paste(halves[left.id], (0, 0))
        both.paste(halves[right.id], (_HALF[1], 0))
        title = f"{left.title} | {right.title}"
        rows.append({"path": title, "bytes": jpeg(both, 90), "label": ""})
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return len(rows)
