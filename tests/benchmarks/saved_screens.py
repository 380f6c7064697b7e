"""What the Review page asks the store for, with many saved screens.

``python -m tests.benchmarks.saved_screens`` fills a database of the first version in a folder that
goes again (about 1 GB), opens it, which brings it up to date, and prints milliseconds: the median
of five. ``--postgresql`` takes Debian's server instead of a file.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, insert

from dashboard import archive
from dashboard.store import engine as engines
from dashboard.store.store import Store
from tests.support.databases import postgresql, postgresql_programs

WORDS = ("Äpfel", "Kübel", "heron", "water", "cup", "cat", "eye", "map", "head", "layer", "patch")
MANIFEST, STILL, ARRAYS, THUMBNAIL = 20_000, 50_000, 20_000, 8_000
"""Bytes of a screen."""


def filled(address: str, count: int) -> None:
    """Make a database of the first version with so many screens, a note on every other."""
    chance = random.Random(7)
    engine = engines.opened(address)
    config = Config()
    config.set_main_option("script_location", str(engines.MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engines.writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        held = MetaData()
        held.reflect(connection)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for first in range(0, count, 250):
        rows: dict[str, list[dict[str, Any]]] = {"screens": [], "facts": [], "notes": []}
        for number in range(first, min(first + 250, count)):
            name = f"{chance.getrandbits(128):032x}"
            about = {
                "models": {m: {"title": m.upper()} for m in ("cnn", "vit")},
                "answers": {m: [["cup", 0.5]] for m in ("cnn", "vit")},
                "arrays": {"a": {"shape": [16, 16], "dtype": "<f4"}},
                "link": "x" * MANIFEST,
            }
            rows["screens"].append(
                {
                    "id": name,
                    "title": " ".join(chance.sample(WORDS, 4)),
                    "author": chance.choice(["Ada", "Grace", "Zoë"]),
                    "created": start + timedelta(minutes=number),
                    "page": chance.choice(["compare", "attention", "evidence"]),
                    "archived": chance.random() < 0.05,
                    "version": 1,
                    "manifest": json.dumps(about),
                    "thumbnail": chance.randbytes(THUMBNAIL),
                    "still": chance.randbytes(STILL),
                    "arrays": chance.randbytes(ARRAYS),
                }
            )
            for kind, value in (
                ("picture", f"mine {number}.jpg"),
                ("model", "EfficientNet-Lite0"),
                ("model", f"DINOv2-S {number % 4}"),
                ("class", f"class {chance.randrange(1000)}"),
                ("class", "espresso"),
            ):
                rows["facts"].append({"screen": name, "kind": kind, "value": value})
            if number % 2:
                said = " ".join(chance.choices(WORDS, k=60))
                rows["notes"].append(
                    {"id": name, "screen": name, "author": "Bob", "text": said, "created": start}
                )
        with engines.writing(engine).begin() as connection:
            for table, values in rows.items():
                connection.execute(insert(held.tables[table]), values)
    engine.dispose()


def asked(store: Any, count: int) -> dict[str, Callable[[], Any]]:
    """What the page asks, by name."""
    last = max(0, count * 19 // 20 - 12)
    return {
        "first leaf": lambda: store.find(most=12),
        "leaf in the middle": lambda: store.find(most=12, skip=last // 2),
        "last leaf": lambda: store.find(most=12, skip=last),
        "one word": lambda: store.find("heron", most=12),
        "many words": lambda: store.find("ÄPFEL heron water cup cat eye map head", most=12),
        "a word that is nowhere": lambda: store.find("nowhere", most=12),
        "a frequent fact": lambda: store.find(facts=[("class", "espresso")], most=12),
        "a rare fact": lambda: store.find(facts=[("class", "class 7")], most=12),
        "a page": lambda: store.find(page="attention", most=12),
        "lists of the filters": lambda: [
            store.known(kind) for kind in ("page", "picture", "model", "class")
        ],
        "sizes for an export": lambda: archive.fitting(store.sizes(most=101)),
        "titles to show beside": lambda: store.find(archived=None, most=200, thumbnails=False),
    }


def median(act: Callable[[], Any]) -> float:
    """Milliseconds of a call."""
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        act()
        took.append(1000 * (time.perf_counter() - begun))
    return statistics.median(took)


@contextmanager
def database(server: bool) -> Iterator[str]:
    """An empty database."""
    programs = postgresql_programs() if server else None
    if server:
        if programs is None:
            raise SystemExit("There is no PostgreSQL server here (Debian: apt install postgresql).")
        with postgresql(programs) as address:
            yield address
        return
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'reviews.sqlite'}"


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--postgresql", action="store_true")
    given = parser.parse_args()
    with database(given.postgresql) as address:
        filled(address, given.count)
        begun = time.perf_counter()
        store = Store(address)
        print(f"{1000 * (time.perf_counter() - begun):8.0f}  bringing it up to date, once")
        for name, act in asked(store, given.count).items():
            print(f"{median(act):8.1f}  {name}")
        store.close()


if __name__ == "__main__":
    main()
