"""What the tests of pages share: small models, a browser, one server for those that only look."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.support.serving import chromium, serve

SMALL = {
    "net-a": ("cnn", "test_resnet"),
    "net-b": ("cnn", "test_efficientnet"),
    "vit-a": ("vit", "test_vit"),
    "vit-b": ("vit", "test_vit2"),
}


SURENESS = 20
"""What their last layers are multiplied by; else all probabilities would be about one thousandth,
and curves flat."""


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small random models of one's own: two of each family, with the classes of ImageNet."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models")
    entries = []
    for seed, (name, (family, architecture)) in enumerate(SMALL.items()):
        torch.manual_seed(seed)
        module = timm.create_model(architecture, num_classes=1000)
        with torch.no_grad():
            module.get_classifier().weight.mul_(SURENESS)
        save_file(module.state_dict(), folder / f"{name}.safetensors")
        entries.append(
            f'[[model]]\nid = "{name}"\nfamily = "{family}"\narchitecture = "{architecture}"\n'
            f'weights = "{name}.safetensors"\nlabels = "imagenet1k"\ntitle = "{name.upper()}"\n'
            + ('trained_on = "noise"\n' if name.endswith("a") else "")
        )
    path = folder / "models.toml"
    path.write_text("\n".join(entries))
    return path


@pytest.fixture(scope="session")
def asked_git(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that names every command of git which the server of `address` runs."""
    return tmp_path_factory.mktemp("git") / "asked"


@pytest.fixture(scope="session")
def address(asked_git: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says, with a git that only writes what it is asked."""
    git = asked_git.with_name("git")
    git.write_text(f'#!/bin/sh\necho "$@" >> {asked_git}\n')
    git.chmod(0o755)
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log, PATH=f"{git.parent}{os.pathsep}{os.environ['PATH']}") as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Not for longer: while it is held, no other event loop runs here."""
    with chromium() as opened:
        yield opened
