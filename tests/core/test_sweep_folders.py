"""Folders of sweeps that somebody else wrote, that are broken, shared, or on a full disk."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import core
from core import sweep
from tests.support.rows import synthetic


@pytest.fixture
def made(tmp_path: Path) -> sweep.Sweep:
    """A sweep of made-up rows with both of its parts."""
    return synthetic(tmp_path / "sweeps" / "made-up", 128, parts=2)


def rewrite(found: sweep.Sweep, change: Callable[[dict[str, Any]], Any]) -> sweep.Sweep:
    """The sweep once its manifest has been changed."""
    path = found.folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return sweep.open_sweep(found.folder)


def nested(depth: int) -> str:
    return '{"version": ' + "[" * depth + "]" * depth + "}"


BROKEN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "many": lambda m: m["pictures"].update(count="many"),
    "below none": lambda m: m["pictures"].update(count=-1),
    "true": lambda m: m["pictures"].update(count=True),
    "chunk": lambda m: m.update(chunk=0),
    "half a chunk": lambda m: m.update(chunk=0.5),
    "no plan": lambda m: m.pop("plan"),
    "a plan of text": lambda m: m.update(plan="all"),
    "no runs": lambda m: m.update(runs=[]),
    "a kind": lambda m: m["pictures"]["source"].update(kind="command"),
    "a method": lambda m: m["maps"][0].update(method="../cam"),
    "many maps": lambda m: m["maps"].extend(m["maps"][:1] * 1000),
    "a map of no model": lambda m: m["maps"][0].update(model=2),
    "a map of a model below none": lambda m: m["maps"][0].update(model=-1),
    "the plan's maps": lambda m: m["plan"].update(maps=["cam'; --"]),
    "no model": lambda m: m["models"].clear(),
    "other models": lambda m: m["models"].reverse(),
    "many models": lambda m: m["models"].extend(m["models"] * 10),
    "a model of numbers": lambda m: m["models"][0].update(id=7),
    "classes": lambda m: m["classes"].insert(0, {"0": "tench"}),
    "classes of more models": lambda m: m["classes"].append([]),
    "a long name": lambda m: m["plan"].update(pictures="x" * 10**6),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_a_manifest_that_cannot_be_true_is_a_sentence(
    change: Callable[[dict[str, Any]], Any], made: sweep.Sweep
) -> None:
    with pytest.raises(core.SweepError, match="made-up") as told:
        rewrite(made, change)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600


@pytest.mark.parametrize(
    "content", ['{"version": 1}', "", "[]", "1", '"', nested(10**5), "\ud800", "{" + " " * 2**25]
)
def test_a_file_that_is_no_manifest_is_a_sentence(content: str, made: sweep.Sweep) -> None:
    path = made.folder / "manifest.json"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(core.SweepError, match="made-up") as told:
        sweep.open_sweep(made.folder)
    assert "\n" not in str(told.value)


def test_keys_that_are_not_known_are_ignored(made: sweep.Sweep) -> None:
    def add(manifest: dict[str, Any]) -> None:
        manifest["later"] = {"x": 1}
        manifest["plan"]["later"] = manifest["pictures"]["source"]["later"] = 2

    found = rewrite(made, add)
    assert found.manifest == made.manifest
    assert found.plan == made.plan
    assert found.source == made.source


def test_every_map_that_the_command_can_name_is_a_legal_one(made: sweep.Sweep) -> None:
    from core.methods.registry import all_methods

    names = list(all_methods())

    def ask_all(manifest: dict[str, Any]) -> None:
        of_one = [f"timm/deit_tiny_patch16_224.fb_in1k:{name}" for name in names]
        manifest["plan"]["maps"] = [*names, *(f"cnn:{name}" for name in names), *of_one]
        parameters = {"layers": [1, 2], "fill": "mean", "span": None}
        manifest["maps"] = [
            {"model": number, "method": name, "parameters": parameters}
            for name in names
            for number in (0, 1)
        ]

    maps = tuple(sweep.MapOf(number, name) for name in names for number in (0, 1))
    assert rewrite(made, ask_all).maps == maps


def test_a_broken_folder_costs_nobody_else_anything(made: sweep.Sweep) -> None:
    offered = made.folder.parent
    for name in ("only-version", "half"):
        (offered / name).mkdir()
    (offered / "only-version" / "manifest.json").write_text('{"version": 1}', encoding="utf-8")
    shutil.copytree(made.rows, offered / "half" / "rows")
    (offered / "half" / "manifest.json").write_bytes((made.folder / "manifest.json").read_bytes())
    found, broken = sweep.list_sweeps(offered)
    assert [one.folder.name for one in found] == ["made-up"]
    assert set(broken) == {"only-version", "half"}
    assert all("\n" not in sentence for sentence in broken.values())
    assert sweep.find_sweeps(offered)[0].folder == made.folder


def gathered(found: sweep.Sweep) -> Any:
    """The rows of all pictures, once they are gathered."""
    found.collect()
    return parquet.read_table(found.tables["pictures"].path)


def test_half_a_file_of_rows_is_gathered_again(made: sweep.Sweep) -> None:
    made.collect()
    for stored in made.tables.values():
        whole = stored.path.read_bytes()
        stored.path.write_bytes(whole[: len(whole) // 2])
        assert len(gathered(made)) == 128


def test_other_files_among_the_parts_are_no_parts(made: sweep.Sweep) -> None:
    for name in ("1x.parquet", "0.parquet", "00002.parquet", "99999.parquet"):
        (made.folder / "parts" / "pictures" / name).write_bytes(b"PAR1")
    assert made.written == [0, 1]
    assert made.done == 128


# -- originals ------------------------------------------------------------------------------------


def sourced(found: sweep.Sweep, kind: str, root: str, path: str) -> sweep.Sweep:
    """The sweep as if its first picture lay there."""
    import pyarrow as pa

    listed = pa.table({"index": [0], "path": [path], "label": [""]})
    parquet.write_table(listed, found.folder / "pictures.parquet")
    source = {"kind": kind, "root": root, "column": "path"}
    return rewrite(found, lambda manifest: manifest["pictures"].update(source=source))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A picture beside the folder that a sweep says it is of."""
    (tmp_path / "pictures").mkdir()
    place = tmp_path / "secret" / "a.png"
    place.parent.mkdir()
    Image.new("RGB", (8, 8), "red").save(place)
    return place


def ways_out(tmp_path: Path, secret: Path) -> dict[str, tuple[str, str, str]]:
    """Kind, root and path of sources that lead to a picture elsewhere."""
    inside = tmp_path / "pictures"
    (inside / "link.png").symlink_to(secret)
    (inside / "folder").symlink_to(secret.parent)
    listed = str(inside / "list.parquet")
    return {
        "an absolute path": ("paths", listed, str(secret)),
        "a path with dots": ("paths", listed, "../secret/a.png"),
        "a path through a link": ("paths", listed, "folder/a.png"),
        "an address": ("paths", listed, f"file://{secret}"),
        "dots": ("folder", str(inside), "../secret/a.png"),
        "a link": ("folder", str(inside), "link.png"),
        "absolute": ("folder", str(inside), str(secret)),
        "an address of this machine": ("address", f"file://{inside}", "../secret/a.png"),
        "its link": ("address", f"file://{inside}", "link.png"),
        "dots in an address": ("address", "memory://pictures", "../secret/a.png"),
        "two addresses": ("address", "memory://pictures", f"x::file://{secret}"),
        "all of this machine": ("folder", "/", str(secret).lstrip("/")),
        "a list of all": ("paths", "/list.parquet", str(secret)),
    }


def test_no_way_leads_out_of_the_stated_folder(
    made: sweep.Sweep, outside: Path, tmp_path: Path
) -> None:
    got_out = []
    for way, (kind, root, path) in ways_out(tmp_path, outside).items():
        try:
            sourced(made, kind, root, path).original(0)
        except core.SweepError:
            continue
        got_out.append(way)
    assert got_out == []


def test_what_lies_inside_is_still_read(made: sweep.Sweep, outside: Path, tmp_path: Path) -> None:
    inside = tmp_path / "pictures"
    data = outside.read_bytes()
    (inside / "a.png").write_bytes(data)
    (inside / "again.png").symlink_to("a.png")
    for kind, root, path in (
        ("folder", str(inside), "a.png"),
        ("folder", str(inside), "again.png"),
        ("paths", str(inside / "list.parquet"), "a.png"),
        ("paths", str(inside / "list.parquet"), str(inside / "a.png")),
        ("address", f"file://{inside}", "a.png"),
    ):
        assert sourced(made, kind, root, path).original(0) == data


def test_a_list_of_something_else_holds_no_picture(made: sweep.Sweep) -> None:
    import pyarrow as pa

    for columns in ({"index": [0]}, {"path": ["a"], "label": [""]}, {"index": ["0"], "path": [1]}):
        parquet.write_table(pa.table(columns), made.folder / "pictures.parquet")
        with pytest.raises(core.SweepError):
            made.original(0)


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_not_waited_for(made: sweep.Sweep, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for kind, root in (("folder", str(tmp_path)), ("bytes", str(tmp_path / "a.png"))):
        with pytest.raises(core.SweepError, match="moved"):
            sourced(made, kind, root, "a.png").original(0)


def test_a_file_without_end_is_read_to_its_bound(
    made: sweep.Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core.sweep import pictures

    (tmp_path / "a.png").write_bytes(bytes(3000))
    monkeypatch.setattr(pictures, "MAX_FILE", 1000)
    assert len(sourced(made, "folder", str(tmp_path), "a.png").original(0)) == 1001
    source = pictures.Source("folder", str(tmp_path))
    [data] = pictures.read(source, [pictures.Item(0, "a.png")])
    assert isinstance(data, bytes)
    assert len(data) == 1001


# -- written by several, and on a full disk -------------------------------------------------------


def test_rows_may_be_gathered_by_many_at_once(made: sweep.Sweep) -> None:
    """Twenty rounds of three threads: with one temporary name for all, nearly every round fails."""
    failed: list[BaseException] = []

    def collect(ready: threading.Barrier) -> None:
        ready.wait()
        try:
            sweep.open_sweep(made.folder).collect()
        except BaseException as error:
            failed.append(error)

    for _ in range(20):
        shutil.rmtree(made.rows)
        ready = threading.Barrier(3)
        threads = [threading.Thread(target=collect, args=(ready,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert len(gathered(made)) == 128
    assert not [path.name for path in made.folder.rglob("*.part")]


def test_a_part_without_any_picture_that_could_be_read_is_gathered(made: sweep.Sweep) -> None:
    """Of such a part there is no embedding at all, which is no array of two dimensions."""
    assert len(parquet.read_table(made.part(0, "answers"))) == 0
    shutil.rmtree(made.rows)
    assert len(gathered(made)) == 128


def test_parts_of_something_else_are_a_sentence(made: sweep.Sweep) -> None:
    import pyarrow as pa

    shutil.rmtree(made.rows)
    parquet.write_table(pa.table({"index": ["x"], "path": ["a"]}), made.part(0))
    for call in (made.collect, lambda: made.read("pictures", [0], ["path"])):
        with pytest.raises(core.SweepError) as told:
            call()
        assert "\n" not in str(told.value)


def test_a_file_is_on_the_disk_before_its_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import files

    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{handle}")
        done.append("folder" if is_folder else "file")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("name"), replace(a, b)))
    with files.replacing(tmp_path / "a") as part:
        part.write_text("x", encoding="utf-8")
    assert done == ["file", "name", "folder"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_leftovers_of_the_killed_are_removed_and_those_of_the_living_are_not(
    tmp_path: Path,
) -> None:
    from core import files

    old, new, other = (tmp_path / name for name in (".a.1.part", ".a.2.part", ".other"))
    for path in (old, new, other):
        path.write_text("x", encoding="utf-8")
        if path != new:
            os.utime(path, (1, 1))
    files.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.2.part", ".other"]


def test_a_full_disk_is_a_sentence_when_rows_are_gathered(
    made: sweep.Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(made.rows)

    def full(*given: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(core.SweepError, match="No space left"):
            made.collect()
    assert len(gathered(made)) == 128


def test_maps_of_made_up_parts_are_read_back(made: sweep.Sweep) -> None:
    rows = made.read("maps", [0], ["map", "shape", "relevance"])
    assert [row["map"] for row in rows] == [0, 1]
    for row in rows:
        assert np.prod(row["shape"]) == len(row["relevance"])
    short = parquet.read_table(made.part(1)).slice(0, 3)
    parquet.write_table(short, made.part(1))
    with pytest.raises(core.SweepError, match="fewer rows"):
        made.read("pictures", [127], ["path"])
