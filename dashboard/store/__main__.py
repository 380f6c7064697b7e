"""The operator's commands for saved screens: list, show, delete, import, export.

::

    python -m dashboard.store list
    python -m dashboard.store show ID
    python -m dashboard.store delete ID
    python -m dashboard.store import FILE.zip
    python -m dashboard.store export FILE.zip

Exits with 0 on success, with 1 and a sentence on failure, with 2 on wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from core import ParallaxError
from dashboard import settings
from dashboard.store.records import Saved, StoreError
from dashboard.store.store import ID, Store

LARGEST = 200 * 2**20
"""Largest imported archive in bytes; the page accepts fewer."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    given = _parser().parse_args(arguments)
    act: Callable[[Store, argparse.Namespace], None] = given.act
    try:
        store = _opened(given.store or settings.store_url(), given.makes)
        try:
            act(store, given)
        finally:
            store.close()
    except ParallaxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m dashboard.store",
        description="Manage saved screens, for the operator. Without --store it opens the database "
        "that the application itself uses: PARALLAX_STORE, or a file in PARALLAX_DATA. Streamlit's "
        "secrets are not read.",
        epilog="Exit codes: 0 done, 1 not done (one sentence on the error stream says why), "
        "2 wrong arguments.",
    )
    parser.add_argument("--store", help="the database, as a URL of SQLAlchemy")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, act: Callable[[Store, argparse.Namespace], None], about: str, makes: bool = False
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about)
        made.set_defaults(act=act, makes=makes)
        return made

    listing = command("list", _list, "One line a screen, the newest first: id, date, names, title.")
    listing.add_argument("--search", default="", help="words in the title, the name or a note")
    listing.add_argument("--most", type=_count, default=100, help="lines at most (100)")
    listing.add_argument("--skip", type=_count, default=0, help="screens to leave out first (0)")
    shown = command("show", _show, "All that is stored about a screen, without its files.")
    shown.add_argument("id", type=_id)
    deleted = command(
        "delete",
        _delete,
        "Delete screens for good, with their notes and the pictures that no other screen shows. "
        "Exported copies and backups are not affected.",
    )
    deleted.add_argument("id", type=_id, nargs="+")
    deleted.add_argument("--yes", action="store_true", help="do not ask")
    taken = command(
        "import", _import, "Import an archive, also one that is too large for the page.", True
    )
    taken.add_argument("file", type=Path)
    given = command(
        "export", _export, "Write screens into an archive: as many as fit, or those of IDs."
    )
    given.add_argument("file", type=Path)
    given.add_argument("id", type=_id, nargs="*")
    given.add_argument("--skip", type=_count, default=0, help="screens to leave out first (0)")
    return parser


def _id(text: str) -> str:
    if not ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is not an id; expected 32 digits, see list"
        )
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a whole number of at least 0")
    return int(text)


def _opened(address: str, makes: bool) -> Store:
    """The store; a missing file is created only by commands that write."""
    try:
        url = make_url(address)
    except ArgumentError as error:
        raise StoreError("--store is not a SQLAlchemy URL, such as sqlite:////a/file.") from error
    if url.get_backend_name() == "sqlite" and not makes and not Path(url.database or "").is_file():
        raise StoreError(
            "The file of saved screens does not exist; check --store or PARALLAX_STORE."
        )
    return Store(address)


def _list(store: Store, given: argparse.Namespace) -> None:
    found, count = store.find(
        given.search, archived=None, most=given.most, skip=given.skip, thumbnails=False
    )
    for card in found:
        parts = [card.id, f"{card.created:%Y-%m-%d %H:%M}", card.author or "-", card.title]
        print("  ".join([*map(_line, parts), *(["(archived)"] if card.archived else [])]))
    first = given.skip + 1 if found else given.skip
    print(f"{first} to {given.skip + len(found)} of {count}" if count else "none", file=sys.stderr)


def _show(store: Store, given: argparse.Namespace) -> None:
    saved = _got(store, given.id)
    _row("id", saved.id)
    _row("title", _line(saved.title))
    _row("name", _line(saved.author))
    _row("created", f"{saved.created:%Y-%m-%d %H:%M:%S} UTC")
    _row("page", f"{_line(saved.page)}{', archived' if saved.archived else ''}")
    for file in store.pictures_of(saved.id):
        _row("picture", file.digest, f"{len(file.data)} bytes", _line(file.name))
    _row("files", f"{len(store.still(saved.id)) + len(store.arrays(saved.id))} bytes")
    for note in saved.notes:
        said = f"{_line(note.author)}: {_line(note.text)}"
        _row("note", f"{note.created:%Y-%m-%d %H:%M}", said)


def _row(*parts: str) -> None:
    """Print parts in columns; the first is a name."""
    print("  ".join([parts[0].ljust(8), *parts[1:]]))


def _delete(store: Store, given: argparse.Namespace) -> None:
    chosen = [_got(store, screen_id) for screen_id in dict.fromkeys(given.id)]
    if not given.yes:
        for saved in chosen:
            _row(saved.id, _line(saved.author or "-"), _line(saved.title))
        print("Delete for good? Type yes: ", end="", flush=True)
        if sys.stdin.readline().strip() != "yes":
            raise StoreError("Nothing was deleted.")
    for saved in chosen:
        store.delete(saved.id)
        print(f"deleted {saved.id}")


def _import(store: Store, given: argparse.Namespace) -> None:
    from dashboard import archive

    try:
        with given.file.open("rb") as opened:
            data = opened.read(LARGEST + 1)
    except OSError as error:
        raise StoreError(f"{given.file.name} cannot be opened ({error.strerror}).") from error
    if len(data) > LARGEST:
        raise StoreError(f"{given.file.name} has more than {LARGEST // 2**20} MB.")
    print(f"{archive.take_in(store, data)} imported")


def _export(store: Store, given: argparse.Namespace) -> None:
    from dashboard import archive

    ids, rest = given.id, ""
    if not ids:
        sizes = store.sizes(archived=None, most=archive.MOST_EXPORTED + 1, skip=given.skip)
        ids, too_large, seen = archive.fitting(sizes)
        count = store.find(archived=None, most=0)[1]
        if too_large:
            rest += f" Too large, export each alone: {' '.join(too_large)}."
        if given.skip + seen < count:
            rest += f" {count - given.skip - seen} older ones: --skip {given.skip + seen}."
    if not ids:
        raise StoreError(f"There is nothing to export.{rest}")
    data = archive.write(store.draft(screen_id) for screen_id in ids)
    try:
        given.file.write_bytes(data)
    except OSError as error:
        raise StoreError(f"{given.file.name} cannot be written ({error.strerror}).") from error
    print(f"{len(ids)} exported.{rest}")


def _got(store: Store, screen_id: str) -> Saved:
    saved = store.get(screen_id)
    if saved is None:
        raise StoreError(f"There is no saved screen {screen_id}; `list` has their ids.")
    return saved


def _line(text: str) -> str:
    """Untrusted text on one line of a terminal, without control characters."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


if __name__ == "__main__":
    sys.exit(main())
