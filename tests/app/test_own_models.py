"""“Your own model” on the page: the operator's folder, uploads, and what can be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save
from streamlit.testing.v1 import AppTest

import core
from dashboard import cache, messages, render
from dashboard.choices import OPPOSITE
from dashboard.own_models import is_own
from tests.support.application import address, figures, healthy, shown_by, start, switch, texts

LABELS = "\n".join(f"part {index}" for index in range(5))


def weights(architecture: str = "test_resnet", classes: int = 5, bias: float = 0.0) -> bytes:
    """A small random network as safetensors; ``bias`` is added to all its logits."""
    torch.manual_seed(0)
    module = timm.create_model(architecture, num_classes=classes)
    state = module.state_dict()
    head = next(name for name in reversed(state) if name.endswith("bias"))
    state[head] += bias
    return save(state)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the operator names, with a checkpoint of Lightning and what is none."""
    torch.manual_seed(1)
    module = timm.create_model("test_vit", num_classes=5)
    state = {f"model.{name}": value for name, value in module.state_dict().items()}
    torch.save(
        {"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2"}, tmp_path / "best.ckpt"
    )
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "damaged.pt").write_bytes(b"PK\3\4 no archive")
    monkeypatch.setenv("PARALLAX_CHECKPOINTS", str(tmp_path))
    return tmp_path


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_OWN_MODELS", "yes")


def tried(app: AppTest, **form: str) -> AppTest:
    """Fill in the form and try what is chosen."""
    for name, value in form.items():
        kinds: dict[str, Callable[..., object]] = {
            "labels": app.text_area,
            "answer": app.selectbox,
            "checkpoint": app.selectbox,
            "mean": app.text_input,
            "std": app.text_input,
            "architecture": app.text_input,
        }
        kinds[name](key=f"own-{name}").set_value(value)  # type: ignore[attr-defined]
    return healthy(app.button(key="own-try").click().run())


def brought(app: AppTest, data: bytes, name: str = "mine.safetensors", box: int = 0) -> AppTest:
    """Upload a file."""
    uploader = app.file_uploader(key=f"screen-own-upload-{box}")
    return healthy(uploader.set_value((name, data, "application/octet-stream")).run())


def used(app: AppTest) -> str:
    """Use what was tried; the id that the address has for it."""
    healthy(app.button(key="own-use").click().run())
    model_id = address(app)["m"][-1]
    assert is_own(model_id)
    return model_id


def said(app: AppTest) -> str:
    return texts(app).replace("\\", "").replace("\u2060", "") + "\n".join(
        m.value.replace("\\", "").replace("\u2060", "") for m in app.markdown
    )


def test_nothing_is_offered_unless_the_operator_allows_it() -> None:
    app = healthy(start())
    assert "Your own model" not in [one.label for one in app.expander]


def test_a_locked_instance_offers_neither(
    folder: Path, uploads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARALLAX_LOCKED", "yes")
    app = healthy(start())
    assert "Your own model" not in [one.label for one in app.expander]


def test_a_checkpoint_of_the_folder_is_tried_and_shown(folder: Path) -> None:
    app = healthy(start())
    assert app.selectbox(key="own-checkpoint").options == ["best.ckpt", "damaged.pt"]
    tried(app, labels=LABELS, mean="0.5", std=".5 .5 .5")
    assert "5 labels, 160 px, mean .5, answers to" in said(app)
    assert "Took the weights under 'state_dict' of best.ckpt." in said(app)
    assert "mean, std as stated in the entry" in said(app)
    model_id = used(app)
    assert address(app)["m"] == [model_id]
    assert "know none of the classes of best.ckpt, so it is shown alone" in said(app)
    assert app.selectbox(key="screen-m-0").options[0] == "best.ckpt"
    assert "no map" not in str(figures(app))
    assert cache.model(model_id).preprocessing.mean == (0.5, 0.5, 0.5)
    assert model_id in shown_by(app).answers
    assert "Took the weights under" in "".join(m.value.replace("\\", "") for m in app.markdown)


def test_a_file_that_changed_is_not_shown_as_the_one_that_was_tried(folder: Path) -> None:
    app = tried(start(), labels=LABELS, architecture="test_vit")
    model_id = used(app)
    with (folder / "best.ckpt").open("ab") as file:
        file.write(b"more")
    held = cache.own_model(model_id)
    assert held is not None
    with pytest.raises(core.WeightsError, match=r"best\.ckpt is not the file any more that was"):
        held.open()
    healthy(app.run())  # the model that was tried is still in memory, and shown
    assert address(app)["m"][-1] == model_id


def test_an_upload_is_of_its_session_and_of_its_link(uploads: None) -> None:
    app = brought(start(), weights(), "crack net.safetensors")
    tried(app, labels=LABELS)
    assert "of 35 tensors" in said(app) or "tensors, 5 labels" in said(app)
    model_id = used(app)
    other = healthy(start())
    assert "crack-net" not in other.selectbox(key="screen-add-model").options
    guest = healthy(start(m=model_id))
    assert not guest.warning
    assert guest.selectbox(key="screen-m-0").options[0] == "crack-net"
    assert [*shown_by(guest).answers] == [model_id]


def test_what_is_stated_makes_another_model(uploads: None) -> None:
    app = brought(start(), weights())
    first = used(tried(app, labels=LABELS))
    second = used(tried(app, mean="0.5"))
    assert first != second
    assert cache.model(first).preprocessing.is_assumed
    assert "is only the library's default" in said(app)


def test_a_link_to_a_model_that_is_not_held_says_so(uploads: None) -> None:
    gone = "own-" + "0" * 20
    app = healthy(start(m=gone))
    assert f"The model '{gone}' of somebody's own is held by the server" in said(app)
    assert f"shown instead: {core.default_models()[0]}" in said(app)
    assert "Open it again under “Your own model”" in said(app)
    [wanted] = render.read(f"/compare?image=coffee&m={gone}")
    with pytest.raises(core.UnknownModel, match=r"python -m core\.models add"):
        render.view(wanted)


def test_a_binary_classifier_needs_to_say_what_its_logit_is(uploads: None) -> None:
    app = brought(start(), weights(classes=1))
    tried(app, labels="crack")
    assert 'answer = "sigmoid"' in said(app)
    tried(app, answer="sigmoid")
    assert "1 label, 160 px" in said(app)
    model_id = used(app)
    assert cache.model(model_id).answer == "sigmoid"
    assert "of 1 labels above one half" in said(app)


@pytest.mark.parametrize(("bias", "rows"), [(-50.0, 5), (50.0, 7)])
def test_labels_above_one_half_are_all_listed(uploads: None, bias: float, rows: int) -> None:
    app = brought(start(), weights(classes=7, bias=bias))
    tried(app, labels="\n".join("abcdefg"), answer="sigmoid")
    model_id = used(app)
    assert len(shown_by(app).predictions[model_id].labels) == rows  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"labels": "one\ntwo"}, "have 5 classes"),
        ({"mean": "half"}, "The mean is 'half', expected one number or three"),
        ({"mean": "0.5 0.5"}, "The mean is '0.5 0.5', expected one number or three"),
        ({"mean": "123.7 116.3 103.5"}, "divide what is for 0 to 255 by 255"),
        ({"std": "0"}, "The deviation is '0', expected for values of pixels"),
        ({"mean": "nan"}, "The mean is 'nan', expected for values of pixels"),
        ({"labels": "x" * 201}, "has 201 characters, at most 200"),
        ({"architecture": "test_resnt"}, "did you mean"),
        ({"architecture": "hf-hub:somebody/else"}, "expected a name in timm"),
        ({"architecture": "resnet50"}, "their names and shapes are those of 'test_resnet'"),
    ],
)
def test_what_can_be_stated_wrongly_is_a_sentence(
    uploads: None, form: dict[str, str], sentence: str
) -> None:
    app = brought(start(), weights())
    for name, value in form.items():
        kind = app.text_area if name == "labels" else app.text_input
        kind(key=f"own-{name}").set_value(value)
    healthy(app.run())
    if "own-try" in [button.key for button in app.button]:
        tried(app)
    assert sentence in said(app)
    assert "own-use" not in [button.key for button in app.button]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "is no file of safetensors"),
        (b"PK\3\4 a pickle", "is no file of safetensors, and no other can be brought"),
        (b"\xff" * 8 + b"{}", "is no file of safetensors"),
    ],
)
def test_what_is_no_safetensors_is_not_taken(uploads: None, data: bytes, sentence: str) -> None:
    app = brought(start(), data)
    assert sentence in said(app)
    assert app.button(key="own-try").disabled


def test_a_damaged_file_is_a_sentence(uploads: None, folder: Path) -> None:
    app = tried(start(), checkpoint="damaged.pt")
    assert "damaged.pt is not a readable checkpoint" in said(app)
    app.radio(key="own-way").set_value("Upload").run()
    brought(app, (2).to_bytes(8, "little") + b"{}")
    tried(app)
    assert "mine.safetensors" in said(app)
    assert "own-use" not in [button.key for button in app.button]


def test_a_file_that_is_too_large_is_a_sentence(
    uploads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.own_models(), "most", 1000)
    app = brought(start(), weights())
    assert "mine.safetensors has" in said(app)
    assert "can be brought here; ask the operator" in said(app)


def test_a_file_that_made_room_is_asked_for_again(
    uploads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tried(brought(start(), weights()), labels=LABELS)
    model_id = used(app)
    held = cache.own_models()
    monkeypatch.setattr(held, "most", len(weights("test_resnet", 6)) + 100)
    for classes in (6, 7, 8, 9, 10):
        held.take("other.safetensors", weights(classes=classes)[: held.most])
    assert held.get(model_id) is None
    app.run()
    assert "is held by the server where it was opened" in said(app)
    assert "mine.safetensors is not held here any more; upload it again" in said(app)


def test_an_empty_folder_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLAX_CHECKPOINTS", str(tmp_path))
    assert "There are no checkpoints in the folder" in said(healthy(start()))


def test_python_lines_open_it_by_its_file(uploads: None) -> None:
    from dashboard import python_lines

    app = tried(brought(start(), weights()), labels=LABELS)
    model_id = used(app)
    script = python_lines.script(shown_by(app))
    assert f"models['{model_id}'] = core.open_model(Path('mine.safetensors'), labels=" in script
    compile(script, "script.py", "exec")


def test_a_sweep_with_it_is_refused_in_a_sentence(uploads: None) -> None:
    from tests.support.application import png

    app = tried(brought(start(), weights()), labels=LABELS)
    used(app)
    switch(app, "data_set")
    from PIL import Image

    picture = png(Image.new("RGB", (64, 64), "red"))
    app.file_uploader(key="sweep-upload-0").set_value([("red.png", picture, "image/png")]).run()
    next(b for b in app.button if b.label == "Sweep 1 picture").click().run()
    assert "sweeps are made with models of the catalog" in said(app)


def test_one_more_than_four_takes_the_place_of_the_last(uploads: None) -> None:
    pair = core.default_models()
    four = [f"{pair[0]}:grad_cam", f"{pair[0]}:cam", f"{pair[0]}:hirescam", pair[1]]
    app = brought(start(look=four), weights(classes=1000))
    model_id = used(tried(app))
    assert address(app)["m"] == [pair[0], model_id]


def test_one_with_known_classes_stands_beside_those_that_are_shown(uploads: None) -> None:
    app = brought(start(), weights(classes=1000))
    model_id = used(tried(app))
    assert address(app)["m"] == [*core.default_models(), model_id]


def test_models_of_the_own_file_stand_first_those_of_the_hub_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models.toml").write_text(
        '[[model]]\nid = "of-hub"\nfamily = "vit"\nweights = "hf-hub:somebody/theirs"\n'
        '[[model]]\nid = "of-disk"\nfamily = "cnn"\nweights = "none.safetensors"\n'
    )
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))
    offered = healthy(start()).selectbox(key="screen-add-model").options
    assert [one.partition(" ·")[0] for one in offered[:2]] == ["of-hub", "of-disk"]


# -- the opposite of a label ----------------------------------------------------------------------


@pytest.fixture
def of_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small model of three labels in the file of one's own."""
    (tmp_path / "parts.txt").write_text("bird\ndog\nfish\n")
    (tmp_path / "parts.safetensors").write_bytes(weights(classes=3))
    (tmp_path / "models.toml").write_text(
        '[[model]]\nid = "parts"\nfamily = "cnn"\narchitecture = "test_resnet"\n'
        'weights = "parts.safetensors"\nlabels = "parts.txt"\nanswer = "sigmoid"\n'
    )
    monkeypatch.setenv("PARALLAX_MODELS", str(tmp_path / "models.toml"))


def test_the_opposite_of_a_label_is_asked_for_beside_the_class(of_labels: None) -> None:
    app = healthy(start(m="parts", classes="dog", look="parts:input_x_gradient"))
    [plain_map] = shown_by(app).explanations
    box = app.selectbox(key="screen-rather_than")
    assert box.options[:2] == ["no other class", "not this label"]
    healthy(box.set_value(OPPOSITE).run())
    assert address(app)["opposite"] == ["yes"]
    [found] = shown_by(app).explanations
    assert found.target == core.not_label(1)
    np.testing.assert_allclose(found.relevance, -plain_map.relevance, atol=1e-6)
    assert found.prediction is not None
    share = 1 - found.prediction.probability(1)
    assert f"not dog · {share:.0%}".replace("%", " %") in str(figures(app)[0])
    healthy(app.selectbox(key="screen-rather_than").set_value("fish").run())
    assert "opposite" not in address(app)
    assert address(app)["rather_than"] == ["fish"]


def test_classes_that_share_one_whole_have_no_opposite() -> None:
    app = healthy(start(opposite="yes"))
    assert "not this label" not in app.selectbox(key="screen-rather_than").options
    assert "opposite is yes, but not all models here answer with labels" in said(app)


@pytest.mark.parametrize(
    "query",
    [
        {"change": "gray"},
        {"question": "curves", "measured": "yes"},
        {"question": "randomization", "measured": "yes"},
    ],
)
def test_evidence_of_the_opposite_of_a_label(of_labels: None, query: dict[str, str]) -> None:
    app = healthy(start("evidence", m="parts", classes="dog", opposite="yes", **query))
    assert not app.warning, [one.value for one in app.warning]
    assert "\0" not in said(app)
    told = said(app) + "".join(metric.label for metric in app.metric) + str(figures(app))
    assert "not dog" in told


def test_a_map_of_the_opposite_is_checked_against_chance(of_labels: None) -> None:
    app = healthy(start(m="parts", classes="dog", opposite="yes", checked="yes"))
    assert "insertion minus deletion" in said(app)


# -- the server -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "status"),
    [
        ("mine.safetensors", 2900, 200),
        ("mine.safetensors", 60_000, 413),
        ("mine.png", 900, 200),
        ("mine.png", 40_000, 413),
    ],
)
def test_the_server_ends_what_is_too_large_for_its_kind(
    name: str, size: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.testclient import TestClient

    monkeypatch.setattr(messages, "most", messages.Most(usual=1000, model=30_000))

    async def take(request: Request) -> Response:
        async with request.form() as form:
            return Response(str(len(await form["file"].read())))  # type: ignore[union-attr]

    inner = Starlette(routes=[Route("/_stcore/upload_file/a/b", take, methods=["PUT"])])
    inner.add_middleware(messages.Uploads)
    answer = TestClient(inner).put(
        "/_stcore/upload_file/a/b", files={"file": (name, b"x" * size, "a/b")}
    )
    assert answer.status_code == status
