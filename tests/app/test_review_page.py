"""The Review page and the menu that fills it, by AppTest, on the embedded pair."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from dashboard import archive, cache, export, manifest, render
from dashboard.store import Card, Saved, StoreError, summary
from pages.review import detail, draw, examples, gallery
from tests.dashboard.test_archive import HOSTILE, draft
from tests.support.application import (
    address,
    healthy,
    hold_no_own_pictures,
    png,
    shown_by,
    start,
    switch,
    texts,
    upload,
)

HOSTILE_TEXT = (
    "<img src=x onerror=alert(1)> ![x](http://evil.example/y) [a](javascript:b) **b** $x$"
)


def save(app: AppTest, title: str = "", author: str = "", note: str = "") -> AppTest:
    """Fill the menu's form and press its button."""
    app.text_input(key="save-title").set_value(title)
    app.text_input(key="save-author").set_value(author)
    app.text_area(key="save-note").set_value(note)
    return press(app, "Save")


def press(app: AppTest, label: str, place: int = 0) -> AppTest:
    """Press the button of this label."""
    return [b for b in app.button if b.label == label][place].click().run()


def only() -> Saved:
    """The one saved screen."""
    [card], count = cache.store().find(archived=None)
    assert count == 1
    saved = cache.store().get(card.id)
    assert saved is not None
    return saved


def words(app: AppTest) -> str:
    return "\n".join(element.value for element in (*app.markdown, *app.subheader, *app.caption))


# -- saving ---------------------------------------------------------------------------------------


def test_a_screen_is_saved_with_all_that_belongs_to_it() -> None:
    app = save(start(vit_map="rollout"), "Cat or cup?", "Ada", "Look here")
    healthy(app)
    assert not app.warning
    saved = only()
    assert (saved.title, saved.author, saved.page) == ("Cat or cup?", "Ada", "compare")
    assert [(note.author, note.text) for note in saved.notes] == [("Ada", "Look here")]
    assert any("Cat or cup?" in toast.value for toast in app.toast)
    assert app.text_input(key="save-author").value == "Ada", "the name is offered again"
    file = cache.store().pictures_of(saved.id)[0]
    assert file.name == "cat-beside-cup.jpg"
    assert ("class", "Egyptian cat") in archive.facts(_manifest(saved))


def _manifest(saved: Saved) -> Any:
    return manifest.read(saved.manifest)


def test_a_saved_screen_has_the_answers_of_both_models_also_where_one_was_not_asked() -> None:
    save(start("attention"))
    about = _manifest(only())
    assert list(about.models) == ["efficientnet-lite0", "dinov2-small"]
    assert set(about.answers) == set(about.models)
    assert only().title == "Attention · A cat beside a cup of espresso", "a title of its own"


def test_it_is_said_who_sees_an_own_picture() -> None:
    app = start()
    assert "download the picture" not in texts(app)
    upload(app, "mine.png", png(_image()))
    assert "all users of this application can see and download the picture" in texts(app)


def _image() -> Any:
    from PIL import Image

    return Image.linear_gradient("L")


def test_an_own_picture_stays_if_it_is_saved_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    for saved in (False, True):
        hold_no_own_pictures(monkeypatch)
        app = upload(start(), "mine.png", png(_image()))
        [mine] = address(app)["image"]
        if saved:
            save(app, "Mine")
        hold_no_own_pictures(monkeypatch)
        again = healthy(start(image=mine))
        assert ("Picture: mine.png" in texts(again)) is saved
        assert bool(again.warning) is not saved


def test_a_store_that_cannot_be_had_costs_a_sentence_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARALLAX_STORE", "sqlite:////proc/nowhere/x.sqlite")
    app = healthy(save(start(), "x"))
    [warning] = app.warning
    assert "Saved screens cannot be opened here" in warning.value
    assert "own-" not in texts(healthy(start(image="own-" + "0" * 20)))
    review = start("review")
    assert not review.exception
    [error] = review.error
    assert "Saved screens cannot be opened here" in error.value


# -- the page -------------------------------------------------------------------------------------


def fill() -> dict[str, str]:
    """Three screens in the store, by title."""
    store = cache.store()
    compare, attention = shown_by(start()), shown_by(start("attention", image="coffee"))
    own = cache.own_pictures()
    return {
        title: store.save(export.draft(shown, own, title, author, note))
        for title, shown, author, note in (
            ("First", compare, "Ada", "the eye"),
            ("Second", attention, "Bob", ""),
            (HOSTILE_TEXT[:100], compare, HOSTILE_TEXT[:60], f"{HOSTILE_TEXT}\nsecond line"),
        )
    }


def cards(app: AppTest) -> list[str]:
    return [b.key.removeprefix("view-") for b in app.button if (b.key or "").startswith("view-")]


def test_an_empty_review_says_so() -> None:
    app = healthy(start("review"))
    assert "No screens have been saved yet" in texts(app)


def test_review_from_gallery_to_archive() -> None:
    ids = fill()
    app = healthy(start("review"))
    assert set(cards(app)) == set(ids.values())
    assert "EfficientNet-Lite0: espresso" in words(app)

    app.selectbox(key="screen-of_page").set_value("attention").run()
    assert cards(healthy(app)) == [ids["Second"]]
    app.selectbox(key="screen-of_page").set_value("").run()
    app.selectbox(key="screen-of_picture").set_value("A cup of espresso").run()
    assert cards(healthy(app)) == [ids["Second"]]
    app.selectbox(key="screen-of_picture").set_value("").run()
    app.selectbox(key="screen-of_class").set_value("Egyptian cat").run()
    assert ids["Second"] not in cards(healthy(app))
    app.selectbox(key="screen-of_class").set_value("").run()
    app.text_input(key="screen-search").set_value("EYE ada").run()
    assert cards(healthy(app)) == [ids["First"]]
    assert address(app) == {"image": ["cat-beside-cup"], "search": ["EYE ada"]}

    app.button(key=f"view-{ids['First']}").click().run()
    assert "First" in [s.value for s in healthy(app).subheader]
    assert "the eye" in words(app)
    app.text_area(key=f"note-{ids['First']}").set_value("I see a cup")
    app.text_input(key=f"by-{ids['First']}").set_value("Grace")
    press(app, "Add")
    assert "I see a cup" in words(healthy(app))
    assert "Grace" in words(app)
    app.text_input(key=f"title-{ids['First']}").set_value("Renamed")
    press(app, "Rename")
    assert "Renamed" in [s.value for s in healthy(app).subheader]

    app.selectbox(key="screen-second").set_value(ids["Second"]).run()
    assert [s.value for s in healthy(app).subheader] == ["Renamed", "Second"]
    press(app, "Archive", 1)
    assert cache.store().find()[1] == 2
    press(app, "Take back")
    assert cache.store().find()[1] == 3
    press(healthy(app), "All saved screens")
    assert address(app) == {"image": ["cat-beside-cup"], "search": ["EYE ada"]}, (
        "what was looked for is there again"
    )


def test_who_comes_late_is_told() -> None:
    ids = fill()
    app = start("review", first=ids["First"])
    saved = cache.store().get(ids["First"])
    assert saved is not None
    cache.store().rename(saved.id, "Faster", saved.version)
    app.text_input(key=f"title-{saved.id}").set_value("Slower")
    press(app, "Rename")
    [warning] = app.warning
    assert "Another user has changed" in warning.value
    assert "Faster" in [s.value for s in app.subheader]


def test_hostile_titles_names_and_notes_are_only_text() -> None:
    ids = fill()
    for query in ({}, {"first": ids[HOSTILE_TEXT[:100]]}, {"search": HOSTILE_TEXT}):
        app = healthy(start("review", **query))
        for element in (*app.markdown, *app.subheader, *app.caption, *app.warning):
            told = element.value
            assert "![x](" not in told
            assert "](javascript" not in told
            assert "<img" not in told.replace("\\<img", "")
    assert "second line" in words(start("review", first=ids[HOSTILE_TEXT[:100]]))


def test_a_hostile_address_of_the_review_page_is_a_sentence() -> None:
    for query in (
        {"first": "../../etc/passwd"},
        {"first": "0" * 32},
        {"saved_leaf": "99"},
        {"of_class": HOSTILE_TEXT},
        {"of_page": "nowhere"},
    ):
        app = healthy(start("review", **query))
        assert "Review" in [title.value for title in app.title]


# -- in and out -----------------------------------------------------------------------------------


def bring(app: AppTest, data: bytes, name: str) -> AppTest:
    return app.file_uploader(key="bring-in").set_value((name, data, "application/x")).run()


def test_an_archive_is_taken_in_once() -> None:
    made = draft("From elsewhere")
    data = archive.write([made])
    app = healthy(bring(start("review"), data, "x.zip"))
    assert not app.warning
    assert any("1 saved screen" in toast.value for toast in app.toast)
    assert only().id == made.id
    app.run()
    bring(start("review"), data, "x.zip")
    assert len(only().notes) == 1


@pytest.mark.parametrize("name", ["climbing", "pickle", "no zip", "manifest deep", "text"])
def test_a_hostile_file_is_a_sentence_and_leaves_nothing(name: str) -> None:
    given = HOSTILE[name]
    data = given() if callable(given) else given
    app = healthy(bring(start("review"), data, "x.zip"))
    [warning] = app.warning
    assert warning.value.endswith(".")
    assert cache.store().find(archived=None)[1] == 0


def test_a_manifest_is_opened_and_told_to_be_the_same() -> None:
    shown = shown_by(start(vit_map="rollout"))
    data = export.described(shown, "A title").json_text().encode()
    app = healthy(bring(start("review"), data, "x.json"))
    assert "A title" in words(app)
    [link] = [e for e in app.get("page_link") if "Open page" in e.proto.label]
    assert "dinov2-small%3Arollout" in link.proto.query_string
    app.query_params["vit_map"] = "rollout"
    switch(app, "compare")
    assert "bit for bit" in texts(healthy(app))
    assert cache.store().find(archived=None)[1] == 0, "opening saves nothing"


def test_a_manifest_of_other_weights_is_told_so() -> None:
    shown = shown_by(start(vit_map="rollout"))
    about = export.described(shown)
    model_id = next(iter(about.models))
    other = about.models[model_id].model_copy(update={"weights_sha256": "0" * 64})
    changed = about.model_copy(update={"models": about.models | {model_id: other}})
    app = bring(start("review"), changed.json_text().encode(), "x.json")
    app.query_params["vit_map"] = "rollout"
    switch(app, "compare")
    [warning] = app.warning
    assert "had different weights" in warning.value


def test_the_whole_review_goes_into_one_archive() -> None:
    ids = fill()
    store = cache.store()
    data = archive.write(store.draft(screen_id) for screen_id in ids.values())
    found = {d.id: d for d in archive.read(data)}
    assert set(found) == set(ids.values())
    for screen_id, taken in found.items():
        assert taken.arrays == store.arrays(screen_id)
    with pytest.raises(StoreError):
        store.draft("0" * 32)


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Lima", "no/where", "../x", None])
def test_a_moment_is_told_on_every_clock(zone: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detail, "st", SimpleNamespace(context=SimpleNamespace(timezone=zone)))
    for year in (1, 9999):
        far = datetime(year, 12 if year > 1 else 1, 31 if year > 1 else 1, 23, 59, tzinfo=UTC)
        made = Card("0" * 32, "Far", "Ada", far, "compare", False, 0, (), b"")
        assert str(year) in detail.byline(made)


def test_a_screen_of_the_year_9999_that_was_stored_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = cache.store()
    far = store.save(draft("Far", created=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)))
    store.save(draft("Near"))
    app = healthy(start("review"))
    assert {"Far", "Near"} <= {title for title in ("Far", "Near") if title in words(app)}
    healthy(start("review", first=far))


def test_a_card_that_cannot_be_drawn_costs_itself_only(monkeypatch: pytest.MonkeyPatch) -> None:
    store = cache.store()
    broken = store.save(draft("Broken", thumbnail=b"no picture at all"))
    good = store.save(draft("Good"))
    byline = detail.byline

    def failing(saved: Card | Saved) -> str:
        if saved.id == broken:
            raise ValueError("whatever was stored")
        return byline(saved)

    monkeypatch.setattr(detail, "byline", failing)
    app = healthy(start("review"))
    assert "Good" in words(app)
    assert "This saved screen cannot be shown" in words(app)
    assert cards(app) == [good]


def test_a_manifest_that_is_too_long_costs_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    store = cache.store()
    screen_id = store.save(draft("Long"))
    monkeypatch.setattr(summary, "MOST_MANIFEST", 10)
    app = start("review", first=screen_id)
    assert not app.exception
    assert any("can no longer be read" in warning.value for warning in app.warning)
    assert "Long" in words(healthy(start("review")))


def test_the_gallery_reads_no_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store().save(draft())

    def fail(*_: Any) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(manifest, "read", fail)
    assert "Cat or cup" in words(healthy(start("review")))


def test_a_large_review_goes_into_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    store = cache.store()
    ids = [store.save(draft(f"Screen {number}")) for number in range(5)]
    monkeypatch.setattr(archive, "MOST_EXPORTED", 2)
    app = healthy(start("review"))
    assert "Screens 1 to 2 of 5" in words(app)
    found = []
    for expected in ("Screens 1 to 2", "Screens 3 to 4", "Screen 5"):
        assert f"{expected} of 5" in words(healthy(app))
        [button] = [b for b in app.get("download_button") if b.proto.id.endswith("export-all")]
        assert button.proto.label == f"Export {expected.lower()}"
        start_at = app.query_params.get("export_from", ["0"])
        first = int(start_at[0] if isinstance(start_at, list) else start_at)
        sizes = store.sizes(most=3, skip=first)
        found += archive.fitting(sizes)[0]
        if expected != "Screen 5":
            app.button(key="export-older").click().run()
    assert app.button(key="export-older").disabled
    assert sorted(found) == sorted(ids)
    app.button(key="export-newer").click().run()
    assert "Screens 1 to 2 of 5" in words(app)
    app.button(key="export-older").click().run()
    app.text_input(key="screen-search").set_value("screen").run()
    assert "Screens 1 to 2 of 5" in words(app), "another search begins with its newest"


def test_a_small_review_goes_into_one_file() -> None:
    cache.store().save(draft())
    app = healthy(start("review"))
    [button] = [b for b in app.get("download_button") if b.proto.id.endswith("export-all")]
    assert button.proto.label == "Export all"


def test_an_import_ends_where_its_reader_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar is where a run ends whose reader has left; what had begun is given back."""
    store = cache.store()
    shown: list[float] = []

    class Left(BaseException):
        pass

    class Bar:
        def progress(self, share: float, text: str) -> None:
            shown.append(share)
            raise Left

        def empty(self) -> None:
            shown.append(-1)

    monkeypatch.setattr(draw.st, "progress", lambda *_: Bar())
    with pytest.raises(Left):
        draw._import(archive.write([draft() for _ in range(3)]))
    assert shown == [0.0, -1]
    assert store.find()[1] == 0
    monkeypatch.undo()
    assert archive.take_in(cache.store(), archive.write([draft()])) == 1


# -- examples and presentation --------------------------------------------------------------------


def test_without_saved_screens_three_examples_show_how_the_page_is_used() -> None:
    app = healthy(start("review"))
    assert "Save & export" in texts(app)
    assert [m.value.partition("**  ")[0] for m in app.markdown if "Example" in m.value] == [
        f"**{example.title}" for example in examples.EXAMPLES
    ]
    for example in examples.EXAMPLES:
        [wanted] = render.read(example.link)
        assert not wanted.problems
        assert render.view(wanted).problems == ()
    save(start("compare"), "Mine")
    assert not any("Example" in m.value for m in healthy(start("review")).markdown)
    assert not any("Example" in m.value for m in start("review", search="nothing like it").markdown)


def test_found_screens_are_presented_one_by_one() -> None:
    app = start("compare")
    save(app, "First <b>", "Ada", "A note\nof two lines")
    save(app, "Second")
    assert not start("review").get("bidi_component")
    app = healthy(start("review").button(key="present").click().run())
    assert address(app)["presented"] == ["yes"]
    [shown] = [json.loads(one.proto.json) for one in app.get("bidi_component")]
    assert shown["presented"]
    newer, older = shown["panels"]
    assert (newer["title"], older["title"]) == ("Second", "First <b>")
    assert older["subtitle"].startswith("Ada · ")
    assert older["subtitle"].endswith("\nA note of two lines")
    still = Image.open(io.BytesIO(base64.b64decode(shown["pictures"][1].partition(",")[2])))
    assert max(still.size) <= gallery.SLIDE
    assert older["ratio"] == pytest.approx(still.width / still.height)
    found = start("review", search="First", presented="yes")
    assert len(json.loads(found.get("bidi_component")[0].proto.json)["panels"]) == 1
