"""Networks that are explained from outside, Swin, and a binary classifier, on pages by AppTest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.application import start, texts

OWN = {
    "outside": ("vit", "mixer_s32_224", 'labels = "imagenet1k"\n', 1000),
    "swin": ("vit", "swin_tiny_patch4_window7_224", 'labels = "imagenet1k"\n', 1000),
    "binary": ("cnn", "test_resnet", 'labels = "one.txt"\nanswer = "sigmoid"\n', 1),
}


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random models of one's own."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models")
    (folder / "one.txt").write_text("crack\n")
    entries = []
    for seed, (name, (family, architecture, labels, classes)) in enumerate(OWN.items()):
        torch.manual_seed(seed)
        module = timm.create_model(architecture, num_classes=classes)
        save_file(module.state_dict(), folder / f"{name}.safetensors")
        entries.append(
            f'[[model]]\nid = "{name}"\nfamily = "{family}"\narchitecture = "{architecture}"\n'
            f'weights = "{name}.safetensors"\ntitle = "{name.upper()}"\n{labels}'
        )
    path = folder / "models.toml"
    path.write_text("\n".join(entries))
    return path


@pytest.fixture(autouse=True)
def _own(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_MODELS", str(own))


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("compare", {}),
        ("attention", {}),
        ("attention", {"tab": "channels"}),
        ("evidence", {}),
        ("activation_maximization", {}),
        ("activation_maximization", {"objective": "channel"}),
        ("evidence", {"question": "randomization", "measured": "yes"}),
        ("attention", {"tab": "similarity"}),
        ("representation", {}),
        ("representation", {"represents": "distance"}),
        ("representation", {"represents": "norms", "layers_measured": "yes"}),
    ],
)
def test_pages_open_or_say_why_not(name: str, page: str, query: dict[str, str]) -> None:
    app = start(page, m=name, **query)
    assert not app.exception
    said = " ".join([texts(app), *(error.value for error in app.error)])
    if name == "outside" and "tab" in query:
        assert "explained from outside, by its pixels and answers alone" in said
    elif not (page == "attention" and not query):
        assert not app.error, [error.value for error in app.error]


def test_a_binary_classifier_counts_its_label() -> None:
    app = start("compare", m="binary")
    assert not app.exception
    assert not app.error, [error.value for error in app.error]
    assert "of 1 labels above one half" in texts(app)
