"""Layer-wise relevance on Compare: its γ and its level, in widgets, address, figure and Python."""

from __future__ import annotations

import pytest

from dashboard import python_lines
from dashboard.figures.linking import FINE
from tests.support.application import address, figures, healthy, shown_by, start

LOOK = "efficientnet-lite0:lrp"


def test_gamma_and_level_are_chosen_kept_and_given_in_python() -> None:
    app = start(m="efficientnet-lite0", look=LOOK)
    [first] = shown_by(app).explanations
    [gamma] = [one for one in app.number_input if one.label == "Gamma"]
    assert gamma.value is None
    assert gamma.placeholder == "automatic"
    gamma.set_value(0.2).run()
    assert address(healthy(app))["look"] == [f"{LOOK}:gamma=0.2"]
    [level] = [one for one in app.segmented_control if one.label == "Level"]
    level.set_value("pixels").run()
    assert address(healthy(app))["look"] == [f"{LOOK}:gamma=0.2,level=pixels"]
    view = shown_by(app)
    [found] = view.explanations
    assert (found.params["gamma"], found.params["level"]) == (0.2, "pixels")
    assert first.relevance.shape == (16, 16)
    assert found.relevance.shape == (224, 224)
    notes = "\n".join(caption.value for caption in app.caption)
    assert f"The map sums to {found.relevance.sum():.3g}" in notes
    assert "γ is 0.2. Patch 14, gamma 0.2, level pixels." in notes
    script = python_lines.script(view)
    assert "'lrp'" in script
    assert "gamma=0.2" in script
    assert "level='pixels'" in script


def test_pixels_are_sent_as_few_bytes_and_read_at_fewer_places() -> None:
    app = start(m="efficientnet-lite0", look=f"{LOOK}:level=pixels")
    [found] = shown_by(app).explanations
    row = figures(app)[0]
    [drawn] = [trace for trace in row["data"] if trace.get("hoverinfo") == "skip"]
    assert (drawn["z"]["dtype"], drawn["z"]["shape"]) == ("f4", "224, 224")
    hovered = next(trace["text"] for trace in row["data"] if "text" in trace)
    assert (len(hovered), len(hovered[0])) == (FINE, FINE)
    peak = abs(found.relevance).max()
    for i, j in ((0, 0), (20, 40), (FINE - 1, FINE - 1)):
        place, _, value = hovered[i][j].partition("<br>")
        at_row, at_col = (int(part.split()[1]) for part in place.split(", "))
        assert (at_row * FINE // 224, at_col * FINE // 224) == (i, j)
        share = found.relevance[at_row, at_col] / peak
        assert value.endswith(f"{share:.0%} of its largest")
    assert len(app.get("plotly_chart")[0].proto.spec) < 1_500_000


@pytest.mark.parametrize("text", ["gamma=2", "level=tokens"])
def test_what_it_does_not_accept_is_told(text: str) -> None:
    app = start(m="efficientnet-lite0", look=f"{LOOK}:{text}")
    said = "\n".join(warning.value for warning in healthy(app).warning)
    assert "which Layer-wise relevance does not accept" in said.replace("\\", "")
