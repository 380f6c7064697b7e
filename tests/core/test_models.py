"""Opening a model: what fits opens, and what does not is told in one sentence."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import core
from core.errors import ModelError, ParameterError, UnknownModel, WeightsError
from core.models import sources, storage, wrap
from core.models.convnet import ConvNet
from core.models.spec import ModelSpec, catalog_problem, find_spec
from core.models.transformer import VisionTransformer
from core.paths import WEIGHTS
from tests.support.builders import (
    CLASSES,
    answer,
    as_model,
    picture,
    save_hub_folder,
    sentence,
    shake,
    timm_convnet,
)

SPECS = {spec.id: spec for spec in core.catalog()}


# -- the embedded pair ----------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of weights that a test may spoil."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for name in ("SHA256SUMS", "efficientnet-lite0.safetensors"):
        shutil.copy(WEIGHTS / name, folder / name)
    for module in (sources, storage):
        monkeypatch.setattr(module, "WEIGHTS", folder)
    sources.checksums.cache_clear()
    yield folder
    sources.checksums.cache_clear()


def test_embedded_network_opens(weights: Path) -> None:
    model = core.open_model("efficientnet-lite0", "cpu")
    assert isinstance(model, ConvNet)
    assert len(model.labels) == 1000
    assert model.device.type == "cpu"
    assert {"cam", "grad_cam", "layer_cam"} <= {method.name for method in core.methods(model)}
    prediction = core.predict(model, picture(10, 10), k=2)
    assert (len(prediction.indices), len(prediction.labels)) == (2, 2)


def test_embedded_transformer_opens() -> None:
    model = core.open_model("dinov2-small", "cpu")
    assert isinstance(model, VisionTransformer)
    assert (model.depth, model.heads, model.prefix, model.patch) == (12, 6, 1, 14)
    assert len(model.labels) == 1000
    seen = core.attention(model, picture(7, 14), core.Framing("whole", 28))
    assert seen.grid == (2, 4)


@pytest.mark.parametrize("place", [0, 20, -1])
def test_wrong_checksum_is_refused(weights: Path, place: int) -> None:
    """Also where the damage is such that nothing can be read at all."""
    path = weights / "efficientnet-lite0.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        core.open_model("efficientnet-lite0")
    message = sentence(caught)
    assert "efficientnet-lite0.safetensors" in message
    assert "checksum" in message
    assert "restore" in message


def test_missing_checksum_is_refused(weights: Path) -> None:
    (weights / "SHA256SUMS").write_text("")
    with pytest.raises(WeightsError, match="checksum"):
        core.open_model("efficientnet-lite0")


def test_missing_weights(weights: Path) -> None:
    (weights / "efficientnet-lite0.safetensors").unlink()
    assert not find_spec("efficientnet-lite0").available
    with pytest.raises(WeightsError) as caught:
        core.open_model("efficientnet-lite0")
    assert "missing from data/weights" in sentence(caught)
    assert str(weights) not in str(caught.value)


def test_digest_of_an_embedded_network_is_that_of_its_file(weights: Path) -> None:
    listed = dict(line.split()[::-1] for line in (weights / "SHA256SUMS").read_text().splitlines())
    model = core.open_model("efficientnet-lite0", "cpu")
    assert model.weights_digest == listed["efficientnet-lite0.safetensors"]


@pytest.fixture
def in_two(weights: Path) -> ModelSpec:
    """An embedded network in two files, both listed, and what opens it."""
    body, head = parted(shake(timm_convnet("test_vit")).state_dict())
    save_file(body, weights / "body.safetensors")
    save_file(head, weights / "head.safetensors")
    (weights / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    lines = [
        f"{hashlib.sha256((weights / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("body.safetensors", "head.safetensors")
    ]
    (weights / "SHA256SUMS").write_text("".join(lines))
    return ModelSpec(
        "two",
        "Two",
        "vit",
        "embedded",
        "test_vit",
        input_size=160,
        weights="body.safetensors",
        head="head.safetensors",
        labels=str(weights / "labels.txt"),
    )


def parted(state: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """The tensors below the class head, and those of the head."""
    return [
        {name: value for name, value in state.items() if name.startswith("head.") == of_head}
        for of_head in (False, True)
    ]


def test_two_embedded_files_are_one_network(in_two: ModelSpec, weights: Path) -> None:
    assert in_two.available
    loaded = sources.load(in_two)
    for name, tensor in shake(timm_convnet("test_vit")).state_dict().items():
        assert torch.equal(loaded.module.state_dict()[name], tensor), name
    files = [(weights / f"{name}.safetensors").read_bytes() for name in ("body", "head")]
    digests = "".join(hashlib.sha256(content).hexdigest() for content in files)
    assert loaded.digest == hashlib.sha256(digests.encode()).hexdigest()


@pytest.mark.parametrize("name", ["body.safetensors", "head.safetensors"])
def test_damage_of_either_embedded_file_is_refused(
    in_two: ModelSpec, weights: Path, name: str
) -> None:
    content = bytearray((weights / name).read_bytes())
    content[-1] ^= 1
    (weights / name).write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        sources.load(in_two)
    assert f"{name} does not have the checksum" in sentence(caught)
    (weights / name).unlink()
    assert not in_two.available
    with pytest.raises(WeightsError, match="missing from data/weights"):
        sources.load(in_two)


def test_digest_without_a_file_is_that_of_all_values() -> None:
    networks = [shake(timm_convnet("test_resnet")) for _ in range(4)]
    with torch.no_grad():
        networks[1].fc.bias[4] += 1e-6  # type: ignore[index, union-attr]
        networks[2].bn1.running_mean[0] += 1e-6  # type: ignore[index, union-attr]
    digests = [as_model(module, "cnn").weights_digest for module in networks]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in digests)


# -- your own -------------------------------------------------------------------------------------

ENTRY = """
[[model]]
id = "mine"
family = "vit"
architecture = "test_vit"
weights = "mine.safetensors"
labels = "labels.txt"
input_size = 160
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of one's own, declared in models.toml."""
    module = shake(timm_convnet("test_vit"))
    save_file(module.state_dict(), tmp_path / "mine.safetensors")
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    (tmp_path / "labels.txt").write_text("apple\nbirne\nçilek\ndate\nelma\n", encoding="utf-8")
    (tmp_path / "models.toml").write_text(ENTRY)
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    return tmp_path


def test_model_of_ones_own_opens(own: Path) -> None:
    assert catalog_problem() is None
    spec = core.catalog()[-1]
    assert (spec.id, spec.title, spec.source, spec.available) == ("mine", "mine", "local", True)
    model = core.open_model("mine", "cpu")
    assert model.labels == ("apple", "birne", "çilek", "date", "elma")
    assert model.preprocessing.size == 160
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    image = picture(40, 40)
    bare = shake(timm_convnet("test_vit"))
    with torch.no_grad():
        wanted = answer(bare, model.pixels(image))[0].numpy()
    np.testing.assert_allclose(core.predict(model, image).logits, wanted, rtol=1e-5, atol=1e-5)
    # Another size than it was trained at: 2 × 3 patches of 16.
    wide = core.explain(model, picture(8, 12), "rollout", framing=core.Framing("whole", 32))
    assert wide.relevance.shape == (2, 3)


@pytest.mark.parametrize(
    ("unread", "text"),
    [
        (None, "the class token and the mean of the patches"),
        (0, "the mean of the patches"),
        (1, "the class token"),
    ],
)
def test_head_on_class_token_beside_mean_opens(own: Path, unread: int | None, text: str) -> None:
    """As DINOv2 is evaluated; timm itself has no such head."""
    state = shake(timm_convnet("test_vit")).state_dict()
    width = state["head.weight"].shape[1]
    halves = list(torch.randn(2, 5, width, generator=torch.Generator().manual_seed(3)))
    if unread is not None:
        halves[unread].zero_()
    state["head.weight"] = torch.cat(halves, dim=1)
    save_file(state, own / "mine.safetensors")
    model = core.open_model("mine", "cpu")
    assert isinstance(model, VisionTransformer)
    assert model.readout.text.partition(",")[0] == text
    image = picture(40, 40)
    with torch.no_grad():
        tokens = shake(timm_convnet("test_vit")).forward_features(model.pixels(image))  # type: ignore[operator]
        wanted = tokens[:, 0] @ halves[0].T + tokens[:, 1:].mean(dim=1) @ halves[1].T
    np.testing.assert_allclose(
        core.predict(model, image).logits, (wanted + state["head.bias"])[0], rtol=1e-4, atol=1e-4
    )
    notes = core.explain(model, image, "gradient_rollout", 2).notes
    assert any(note.startswith("Read at") for note in notes) == (unread != 1)


TWO_FILES = ENTRY.replace("labels =", 'head = "top.safetensors"\nlabels =')


def test_own_model_in_two_files_opens(own: Path) -> None:
    state = shake(timm_convnet("test_vit")).state_dict()
    whole = core.open_model("mine", "cpu")
    for name, tensors in zip(("mine", "top"), parted(state), strict=True):
        save_file(tensors, own / f"{name}.safetensors")
    (own / "models.toml").write_text(TWO_FILES)
    model = core.open_model("mine", "cpu")
    image = picture(40, 40)
    assert np.array_equal(core.predict(model, image).logits, core.predict(whole, image).logits)
    # Of a tensor that both hold, that of the second file counts.
    fitted = parted(state)[1] | {"norm.weight": state["norm.weight"] * 2}
    save_file(fitted, own / "top.safetensors")
    other = core.open_model("mine", "cpu")
    assert torch.equal(other.module.state_dict()["norm.weight"], state["norm.weight"] * 2)
    assert other.weights_digest != model.weights_digest


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda own: None, ["top.safetensors", "does not exist"]),
        (
            lambda own: save_file({"other": torch.ones(1)}, own / "top.safetensors"),
            ["other", "is unexpected"],
        ),
        (
            lambda own: (own / "models.toml").write_text(
                TWO_FILES.replace("architecture", 'source = "timm"\narchitecture')
            ),
            ["head", "timm"],
        ),
    ],
)
def test_what_is_wrong_with_a_second_file(own: Path, prepare: Any, words: list[str]) -> None:
    (own / "models.toml").write_text(TWO_FILES)
    prepare(own)
    if problem := catalog_problem():
        assert all(word in problem for word in words), problem
        return
    with pytest.raises(ModelError) as caught:
        core.open_model("mine", "cpu")
    message = sentence(caught)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("columns", [1, 3])
def test_head_of_another_width_is_refused(own: Path, columns: int) -> None:
    state = shake(timm_convnet("test_vit")).state_dict()
    state["head.weight"] = torch.ones(5, columns * state["head.weight"].shape[1] + 1)
    save_file(state, own / "mine.safetensors")
    with pytest.raises(WeightsError, match=r"head\.weight"):
        core.open_model("mine", "cpu")


def test_digest_of_ones_own_model_is_that_of_its_file(own: Path) -> None:
    wanted = hashlib.sha256((own / "mine.safetensors").read_bytes()).hexdigest()
    assert core.open_model("mine", "cpu").weights_digest == wanted


ARCHITECTURES = [
    "test_vit",
    "test_resnet",
    "test_efficientnet",
    "test_vit_relpos",  # an index that is computed, not stored
    "eva02_tiny_patch14_224",  # frequencies, and a bias that is no parameter
    "vit_small_patch16_rope_mixed_224",
    "levit_128s",
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_filled_network_is_the_librarys_own(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Every parameter and every buffer, also those that no checkpoint holds."""
    import timm

    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    torch.manual_seed(0)
    wanted = timm.create_model(name, num_classes=CLASSES)
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in wanted.state_dict().items()
    }
    wanted.load_state_dict(state)
    save_file(state, tmp_path / "weights.safetensors")
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    spec = ModelSpec(
        "mine",
        "Mine",
        "cnn",
        "local",
        name,
        weights=str(tmp_path / "weights.safetensors"),
        labels=str(tmp_path / "labels.txt"),
    )
    found = sources.load(spec).module
    assert type(found) is type(wanted)
    for mine, theirs in (
        (dict(found.named_parameters()), dict(wanted.named_parameters())),
        (dict(found.named_buffers()), dict(wanted.named_buffers())),
    ):
        assert mine.keys() == theirs.keys()
        for key, tensor in theirs.items():
            assert mine[key].dtype == tensor.dtype, key
            assert mine[key].device.type == "cpu", key
            assert torch.equal(mine[key], tensor), key


def test_buffers_that_are_not_stored_are_there() -> None:
    """Without them the test above would compare nothing."""
    import timm

    for name in ("test_vit_relpos", "eva02_tiny_patch14_224"):
        module = timm.create_model(name)
        assert dict(module.named_buffers()).keys() - module.state_dict().keys(), name


def test_network_that_needs_values_to_be_built(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    usual, made = timm.create_model, []

    def create(*args: Any, **options: Any) -> Any:
        made.append(torch.empty(1).fill_(0.5).item())
        return usual(*args, **options)

    monkeypatch.setattr(timm, "create_model", create)
    model = core.open_model("mine", "cpu")
    assert made == [0.5]
    wanted = shake(timm_convnet("test_vit")).state_dict()
    found = model.module.state_dict()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_weights_in_use_outlive_their_file(own: Path) -> None:
    path = own / "mine.safetensors"
    model = core.open_model("mine", "cpu")
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    for key, value in model.module.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("wrapping", ["plain", "state_dict", "model"])
def test_pth_checkpoint_opens(own: Path, wrapping: str) -> None:
    state: Any = shake(timm_convnet("test_vit")).state_dict()
    torch.save(state if wrapping == "plain" else {wrapping: state, "epoch": 3}, own / "mine.pth")
    (own / "models.toml").write_text(ENTRY.replace("safetensors", "pth"))
    assert len(core.open_model("mine").labels) == CLASSES


class Exploit:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_with_code_is_refused_and_not_run(own: Path, zipped: bool) -> None:
    proof = own / "owned"
    content = {"weight": Exploit(proof)}
    if zipped:
        torch.save(content, own / "mine.pth")
    else:
        (own / "mine.pth").write_bytes(pickle.dumps(content))
    (own / "models.toml").write_text(ENTRY.replace("safetensors", "pth"))
    with pytest.raises(WeightsError) as caught:
        core.open_model("mine")
    sentence(caught)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda own: (own / "labels.txt").write_text("a\nb\n"), ["mine", "head", "labels"]),
        (lambda own: (own / "mine.safetensors").write_bytes(b"no"), ["mine", "checkpoint"]),
        (lambda own: (own / "mine.safetensors").unlink(), ["mine", "does not exist"]),
        (lambda own: (own / "labels.txt").unlink(), ["labels.txt", "one class per line"]),
        (lambda own: (own / "labels.txt").write_text("\n"), ["labels.txt", "empty"]),
        (lambda own: (own / "labels.txt").write_bytes(b"\xff\xfe"), ["labels.txt", "UTF-8"]),
        (
            lambda own: (own / "models.toml").write_text(ENTRY.replace("test_vit", "test_vti")),
            ["mine", "test_vti", "architecture"],
        ),
        (
            lambda own: (own / "models.toml").write_text(ENTRY.replace("test_vit", "test_resnet")),
            ["mine", "test_resnet", "architecture"],
        ),
        (
            lambda own: save_file({"weight": torch.zeros(2)}, own / "mine.safetensors"),
            ["mine", "test_vit", "checkpoint"],
        ),
    ],
)
def test_what_is_wrong_with_ones_own_model(own: Path, spoil: Any, words: list[str]) -> None:
    from core.labels import read_labels

    read_labels.cache_clear()
    spoil(own)
    with pytest.raises(ModelError) as caught:
        core.open_model("mine")
    message = sentence(caught)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_weights_that_are_no_numbers_are_refused(
    own: Path, value: float, dtype: torch.dtype
) -> None:
    state = {name: t.to(dtype) for name, t in shake(timm_convnet("test_vit")).state_dict().items()}
    state["blocks.1.mlp.fc1.weight"][3, 5] = value
    save_file(state, own / "mine.safetensors")
    with pytest.raises(WeightsError) as caught:
        core.open_model("mine")
    message = sentence(caught)
    assert "not numbers" in message
    assert "blocks.1.mlp.fc1.weight" in message


def test_large_weights_are_not_taken_for_infinite(own: Path) -> None:
    state = shake(timm_convnet("test_vit")).state_dict()
    state["blocks.1.mlp.fc1.weight"][:] = 3e38
    save_file(state, own / "mine.safetensors")
    module = sources.load(core.catalog()[-1]).module
    assert (module.blocks[1].mlp.fc1.weight == 3e38).all()  # type: ignore[union-attr, index]


@pytest.mark.parametrize("content", ["text", "shapes", "keys", "pickle", "cut"])
def test_sentences_hold_no_words_of_a_library(own: Path, content: str) -> None:
    """Neither its colors nor its lists of weights."""
    state = shake(timm_convnet("test_vit")).state_dict()
    if content == "shapes":
        torch.save({name: torch.zeros(2) for name in state}, own / "mine.pth")
    elif content == "keys":
        torch.save({f"\x1b[31m{name}": value for name, value in state.items()}, own / "mine.pth")
    elif content == "text":
        (own / "mine.pth").write_text("no checkpoint")
    else:
        torch.save(Exploit(own / "owned") if content == "pickle" else state, own / "mine.pth")
        if content == "cut":
            (own / "mine.pth").write_bytes((own / "mine.pth").read_bytes()[:-700])
    (own / "models.toml").write_text(ENTRY.replace("safetensors", "pth"))
    with pytest.raises(WeightsError) as caught:
        core.open_model("mine")
    message = sentence(caught)
    assert message.isprintable()
    assert not re.search("weights_only|pickle|state_dict for|Error|invalid load key", message)


def test_checkpoint_that_is_no_state_dict(own: Path) -> None:
    torch.save([torch.zeros(2)], own / "mine.pth")
    (own / "models.toml").write_text(ENTRY.replace("safetensors", "pth"))
    said = r"mine\.pth holds a value of type list, not a state dict"
    with pytest.raises(WeightsError, match=said):
        core.open_model("mine")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[model", ["not readable TOML"]),
        ("model = 3", ["[[model]] tables"]),
        ("[model]\nid = 'a'", ["[[model]] tables"]),
        (ENTRY.replace("family", "famly"), ["unknown key 'famly'", "'mine'"]),
        (ENTRY.replace('"vit"', '"rnn"'), ["'rnn'", "'cnn' or 'vit'"]),
        (ENTRY.replace('id = "mine"', ""), ["'id' is missing"]),
        (ENTRY.replace('weights = "mine.safetensors"', ""), ["'weights'"]),
        (
            ENTRY.replace("test_vit", "hf-hub:timm/test_vit"),
            ["hf-hub:timm/test_vit", "name in timm"],
        ),
        (ENTRY.replace("test_vit", "local-dir:/tmp"), ["local-dir:/tmp", "name in timm"]),
        (ENTRY.replace("160", "7"), ["input_size is 7", "16 to 1024"]),
        (ENTRY.replace("160", '"big"'), ["'input_size' is 'big'"]),
        (ENTRY.replace("160", "160.5"), ["input_size is 160.5"]),
        (ENTRY.replace('"labels.txt"', "3"), ["'labels' is 3"]),
        (ENTRY + "license = 2.0", ["'license' is 2.0"]),
        (ENTRY + "defaults = 'min'", ["'defaults' is 'min'"]),
        (ENTRY + "[model.defaults]\nrollout = 'min'", ["'defaults'"]),
        (ENTRY.replace('"mine"', '"dinov2-small"'), ["'dinov2-small' is taken"]),
        (ENTRY + ENTRY, ["'mine' is taken"]),
        (ENTRY + 'source = "hub"', ["'weights'"]),
        (ENTRY + "parameters = 'many'", ["parameters"]),
        (ENTRY + "labels2 = 3", ["labels2"]),
    ],
)
def test_broken_file_hides_nothing_else(own: Path, text: str, words: list[str]) -> None:
    (own / "models.toml").write_text(text)
    assert core.catalog() == tuple(SPECS.values())
    problem = catalog_problem()
    assert problem is not None
    assert all(word in problem for word in words), problem
    assert "models.toml" in problem
    assert str(own) not in problem
    with pytest.raises(UnknownModel):
        core.open_model("mine")
    assert core.open_model("efficientnet-lite0").spec.source == "embedded"


def test_defaults_in_ones_own_entry_are_checked_when_used(own: Path) -> None:
    (own / "models.toml").write_text(ENTRY + "[model.defaults.rollout]\nfusion = 'sum'\n")
    model = core.open_model("mine")
    with pytest.raises(ParameterError, match="'sum'"):
        core.explain(model, picture(8, 8), "rollout")
    (own / "models.toml").write_text(ENTRY + "[model.defaults.rollout]\nfusoin = 'min'\n")
    with pytest.raises(ParameterError, match="no parameter 'fusoin'"):
        core.explain(core.open_model("mine"), picture(8, 8), "rollout")


# -- libraries and their files ------------------------------------------------------------------


def test_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(WeightsError) as caught:
        core.open_model("efficientnet-lite0")
    assert "not installed" in sentence(caught)


@pytest.mark.parametrize(
    ("kind", "crop", "resample", "squash"),
    [
        ("vit", 1.0, Image.Resampling.BILINEAR, True),
        ("dinov2", 0.8, Image.Resampling.BICUBIC, False),
        ("registers", 0.8, Image.Resampling.BICUBIC, False),
    ],
)
def test_hub_model_from_a_folder(
    tmp_path: Path, kind: str, crop: float, resample: Image.Resampling, squash: bool
) -> None:
    bare = save_hub_folder(tmp_path, kind)
    spec = ModelSpec("hub", "Hub", "vit", "hub", "owner/name")
    model = wrap(spec, sources.from_hub(spec, tmp_path))
    assert isinstance(model, VisionTransformer)
    assert model.labels == tuple(f"name {index}" for index in range(CLASSES))
    found = model.preprocessing
    assert (found.size, found.resample, found.squash) == (16, resample, squash)
    assert found.crop_fraction == pytest.approx(crop)
    assert found.mean == ((0.5, 0.5, 0.5) if kind == "vit" else (0.48145466, 0.4578275, 0.40821073))
    image = picture(6, 9)
    with torch.no_grad():
        wanted = answer(bare, model.pixels(image))[0].numpy()
    np.testing.assert_allclose(core.predict(model, image).logits, wanted, rtol=1e-5, atol=1e-5)
