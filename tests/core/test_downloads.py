"""Downloads: what arrives is what was promised, and no host can hold anybody up."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save
from torch import nn

import core
from core.errors import UnknownModel, WeightsError
from core.models import downloads, sources, storage
from core.models.downloads import Download, Patience
from core.models.spec import ModelSpec, find_spec
from tests.support.builders import (
    answer,
    picture,
    save_hub_folder,
    sentence,
    shake,
)
from tests.support.hub import MANNERS, Hub, playing, until

TINY = ModelSpec("tiny", "Tiny", "cnn", "timm", "test_resnet", parameters=0.5)
HURRIED = Patience(silence=1, window=1.5, rate=10_000)
PATH = "timm/test_resnet/model.safetensors"


def network() -> nn.Module:
    """What `TINY` names."""
    import timm

    module: nn.Module = shake(timm.create_model("test_resnet").eval())
    return module


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of both libraries."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    monkeypatch.setattr(
        "huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub")
    )
    return tmp_path


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the weights of a tiny network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with playing() as found:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.address)
        found.files[PATH] = save(network().state_dict())
        yield found


def left_behind(cache: Path) -> list[str]:
    """Every file of the caches."""
    return [path.name for path in cache.rglob("*") if path.is_file()]


def test_a_model_of_timm_arrives(hub: Hub, cache: Path) -> None:
    assert not TINY.available
    download = Download(TINY)
    assert download.wait(20) == "done"
    size = len(hub.files[PATH])
    assert (download.done, download.total, download.error) == (size, size, "")
    assert TINY.available
    loaded = sources.load(TINY)
    assert loaded.digest == hashlib.sha256(hub.files[PATH]).hexdigest()
    bare = network()
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, found = bare(pixels), loaded.module.eval()(pixels)
    np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    assert "state_dict" not in str(loaded.module.pretrained_cfg.keys())
    assert len(hub.asked) == 2, "nothing else is asked for, and nothing twice"


def test_hugging_faces_own_library_finds_what_arrived(hub: Hub) -> None:
    from huggingface_hub import hf_hub_download

    Download(TINY).wait(20)
    path = hf_hub_download("timm/test_resnet", "model.safetensors", local_files_only=True)
    assert Path(path).read_bytes() == hub.files[PATH]


def test_a_model_of_transformers_arrives(hub: Hub, tmp_path: Path) -> None:
    bare = save_hub_folder(tmp_path / "made", "dinov2")
    for path in (tmp_path / "made").iterdir():
        hub.files[f"owner/tiny/{path.name}"] = path.read_bytes()
    spec = ModelSpec("own", "Own", "vit", "hub", "owner/tiny", parameters=0.5)
    assert Download(spec).wait(20) == "done"
    commits = {path.split("/")[4] for path in hub.asked if "/resolve/" in path}
    assert commits == {"main", hub.commit}, "after the first file, its commit is asked for"
    model = core_model(spec)
    image = picture(6, 9)
    with torch.no_grad():
        wanted = answer(bare, model.pixels(image))[0].numpy()
    np.testing.assert_allclose(core.predict(model, image).logits, wanted, rtol=1e-5, atol=1e-5)


def core_model(spec: ModelSpec) -> core.Model:
    """Open a model that is not in the catalog."""
    from core.models import wrap

    return wrap(spec, sources.load(spec))


def test_a_commit_is_asked_for_and_must_be_what_comes(hub: Hub) -> None:
    pinned = replace(TINY, revision=hub.commit)
    assert Download(pinned).wait(20) == "done"
    assert f"/resolve/{hub.commit}/" in hub.asked[0]
    assert pinned.available
    assert not TINY.available, "a branch is not the commit"
    other = Download(replace(TINY, revision="ab" * 20))
    assert other.wait(20) == "failed"
    assert "commit" in other.error


@pytest.mark.parametrize("manner", MANNERS)
def test_a_hub_that_misbehaves(hub: Hub, cache: Path, manner: str) -> None:
    hub.manner = manner
    begun = time.monotonic()
    download = Download(TINY, HURRIED)
    assert download.wait(20) == "failed"
    assert time.monotonic() - begun < 4
    assert download.error.startswith("Tiny cannot be downloaded: ")
    assert MANNERS[manner] in download.error
    assert "embedded pair" in download.error
    assert not TINY.available
    if manner != "drips headers":  # whose thread hangs in the library, where nobody waits for it
        until(lambda: "download tiny" not in [t.name for t in threading.enumerate()], 8)
        assert left_behind(cache) == []


def test_no_network_is_told_at_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(WeightsError) as caught:
        core.open_model("timm/deit_tiny_patch16_224.fb_in1k")
    assert time.monotonic() - begun < 5
    message = sentence(caught)
    assert find_spec("timm/deit_tiny_patch16_224.fb_in1k").title in message
    assert "127.0.0.1 cannot be reached" in message
    assert "network" in message


def test_offline_is_obeyed(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"offline \(HF_HUB_OFFLINE\)"):
        core.open_model("hf/google/vit-base-patch16-224")


def test_the_usual_patience_fails_within_ten_seconds(hub: Hub) -> None:
    hub.manner = "silent"
    begun = time.monotonic()
    assert Download(TINY).wait(12) == "failed"
    assert time.monotonic() - begun < 10


def test_canceling_leaves_nothing(hub: Hub, cache: Path) -> None:
    hub.pause = 0.5
    download = Download(TINY)
    until(lambda: download.done, 30)
    assert download.state == "running"
    assert download.done < (download.total or 0)
    download.cancel()
    assert download.state == "canceled"
    until(lambda: not left_behind(cache), 5)
    assert not TINY.available
    hub.pause = 0
    assert Download(TINY).wait(20) == "done"


def test_whoever_wants_the_same_model_shares_its_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "find_spec", lambda _: TINY)
    hub.pause = 0.05
    first, second = core.download("tiny"), core.download("tiny")
    assert first is second
    first.cancel()
    assert core.download("tiny") is not first
    core.download("tiny").cancel()


def test_only_the_catalog_says_what_is_fetched(cache: Path) -> None:
    with pytest.raises(UnknownModel):
        core.download("hf/somebody/else")


# -- files that are there already -----------------------------------------------------------------


def stored(cache: Path, content: bytes) -> Path:
    """The weights as Hugging Face's library keeps them; returns the file."""
    folder = cache / "hub" / "models--timm--test_resnet"
    digest = hashlib.sha256(save(network().state_dict())).hexdigest()
    for name in ("blobs", "refs", "snapshots/main"):
        (folder / name).mkdir(parents=True)
    (folder / "refs" / "main").write_text("main")
    (folder / "blobs" / digest).write_bytes(content)
    (folder / "snapshots/main/model.safetensors").symlink_to(f"../../blobs/{digest}")
    return folder / "snapshots/main/model.safetensors"


def test_a_truncated_file_in_the_cache_does_not_count_and_is_replaced(
    hub: Hub, cache: Path
) -> None:
    stored(cache, hub.files[PATH][:-100])
    assert not TINY.available
    assert Download(TINY).wait(20) == "done"
    assert TINY.available


def test_a_damaged_file_in_the_cache_is_told_and_fetched_anew(hub: Hub, cache: Path) -> None:
    content = bytearray(hub.files[PATH])
    content[-5] ^= 1
    stored(cache, bytes(content))
    with pytest.raises(WeightsError, match=r"damaged.*fetch it once more"):
        sources.load(TINY)
    assert not TINY.available
    assert Download(TINY).wait(20) == "done"
    assert sources.load(TINY).digest == hashlib.sha256(hub.files[PATH]).hexdigest()


EXECUTED: list[str] = []


class Bomb:
    """Runs code when it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return EXECUTED.append, ("boom",)


RESNET = ModelSpec(
    "rn", "RN", "cnn", "torchvision", "resnet18", weights="IMAGENET1K_V1", labels="imagenet1k"
)


@pytest.mark.parametrize("content", ["pickle", "truncated", "other", "text"])
def test_torchvisions_cache_is_not_believed(
    content: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = storage.torchvision_file("resnet18", "IMAGENET1K_V1").path
    path.parent.mkdir(parents=True)
    state = {"fc.bias": torch.zeros(3)}
    if content == "text":
        path.write_text("a page that asks to log in")
    else:
        torch.save(Bomb() if content == "pickle" else state, path)
        if content == "truncated":
            path.write_bytes(path.read_bytes()[:-50])
    if content in ("truncated", "text"):
        assert not RESNET.available
        return
    with pytest.raises(WeightsError, match="checksum"):
        sources.load(RESNET)
    assert EXECUTED == []
    assert not RESNET.available, "so that it is fetched anew"


def test_a_pickle_with_the_right_checksum_is_not_executed_either(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = storage.torchvision_file("resnet18", "IMAGENET1K_V1").path
    path.parent.mkdir(parents=True)
    torch.save(Bomb(), path)
    monkeypatch.setattr(storage.TorchvisionFile, "promises", lambda *_: True)
    with pytest.raises(WeightsError):
        sources.load(RESNET)
    assert EXECUTED == []


def test_a_checkpoint_of_torchvision_arrives(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = cache / "state.pth"
    torch.save(torchvision.models.resnet18().state_dict(), state)
    content = state.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    with playing() as hub:
        name = f"resnet18-{digest[:8]}.pth"
        hub.files[name] = content
        file = storage.TorchvisionFile(f"{hub.address}/stored/{name}")
        monkeypatch.setattr(storage, "torchvision_file", lambda *_: file)
        assert Download(RESNET).wait(20) == "done"
        assert sources.load(RESNET).digest == digest
        file.path.unlink()
        hub.files[name] = content[:-1] + b"x"
        wrong = Download(RESNET)
        assert wrong.wait(20) == "failed"
        assert "checksum" in wrong.error
        assert not RESNET.available


def test_weights_that_do_not_fit_are_told(hub: Hub) -> None:
    hub.files[PATH] = save({"fc.bias": torch.zeros(3)})
    assert Download(TINY).wait(20) == "done"
    with pytest.raises(WeightsError, match="do not fit the architecture 'test_resnet'"):
        sources.load(TINY)
