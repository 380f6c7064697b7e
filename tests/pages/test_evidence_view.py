"""A page's view is made without Streamlit, and its files are those of the page's buttons."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest
from streamlit.runtime.scriptrunner import get_script_run_ctx

from dashboard import render
from dashboard.view import View
from pages.evidence.curves import Curves
from pages.evidence.pointing import Pointing
from pages.evidence.randomization import Randomized
from pages.evidence.removal import Removal
from pages.evidence.view import Evidence


def rendered(page: str, **query: Any) -> View:
    """What ``python -m dashboard.render`` makes of a link, in a thread without a session."""

    def make() -> View:
        assert get_script_run_ctx(suppress_warning=True) is None
        [wanted] = render.read(f"/{page}?{urlencode(query, doseq=True)}")
        return render.view(wanted)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


# -- Evidence -------------------------------------------------------------------------------------

FOUR = ["chelsea", "coffee", "camera", "rocket"]


@pytest.mark.parametrize(
    ("query", "kind", "figures"),
    [
        ({"top_of": "0", "rather_than": "tabby"}, Removal, ["patches"]),
        ({"change": "shuffle", "seed": "3"}, Removal, ["strengths"]),
        ({"question": "curves"}, Curves, []),
        ({"question": "randomization"}, Randomized, []),
        ({"question": "pointing", "four": FOUR}, Pointing, ["pointing-0", "pointing-1"]),
    ],
)
def test_every_question_of_evidence(
    query: dict[str, Any], kind: type[Any], figures: list[str]
) -> None:
    query = {"image": "cat-beside-cup"} | query
    view = rendered("evidence", **query)
    assert isinstance(view, Evidence)
    assert isinstance(view.found, kind)
    assert not view.problems
    assert list(view.figures) == figures


def test_what_evidence_cannot_show_is_told() -> None:
    view = rendered("evidence", image="coffee", change="patches", removed="4x4-ffff")
    assert ["4 × 4 patches" in said for said in view.problems] == [True]
    view = rendered("evidence", image="coffee", question="pointing", four="nothing")
    assert view.problems == ("four has 'nothing', which is not a picture here.",)


def test_two_definitions_of_one_method_have_curves_of_their_own_names() -> None:
    vit = "dinov2-small"
    looks = [f"{vit}:rollout:fusion=min", f"{vit}:rollout:fusion=max", f"{vit}:grad_cam"]
    view = rendered("evidence", question="curves", m=vit, look=looks)
    assert isinstance(view, Evidence)
    assert isinstance(view.found, Curves)
    [chosen] = view.found.chosen
    names = [name for name, _, _ in chosen.maps]
    assert [name.partition(",")[0] for name in names] == [
        "Attention rollout",
        "Attention rollout",
        "Grad-CAM",
    ]
    assert "min" in names[0]
    assert "max" in names[1]
    assert names[2] == "Grad-CAM"
