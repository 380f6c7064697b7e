"""Several people at once, over the real protocol: everybody sees what they would see alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support import crowd
from tests.support.serving import serve


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, started as the README says."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with serve(log) as url:
        yield url
    assert "Traceback" not in log.read_text(encoding="utf-8")


def test_figures_of_a_crowd_are_those_of_one_alone(address: str) -> None:
    plan = crowd.plan(4, 8)
    crowded = asyncio.run(crowd.together(address, plan))
    # What is held now was made by many at once; what is made alone has to be made anew.
    assert [e for seen in crowded for one in seen for e in one.errors] == []
    drawn = [one for seen in crowded for one in seen if one.figures]
    assert len(drawn) >= 6
    assert all(any(crowd.arrays(spec) for spec in one.figures) for one in drawn)
    with_own_server = asyncio.run(crowd.one_after_another(address, plan))
    for together, alone in zip(crowded, with_own_server, strict=True):
        for one, other in zip(together, alone, strict=True):
            assert crowd.different(one, other) == []


def test_other_numbers_would_be_seen() -> None:
    def seen(z: str) -> crowd.Seen:
        return crowd.Seen([f'{{"data": [{{"z": {z}, "name": "map"}}]}}'], [], [], 1.0)

    assert crowd.different(seen("[[1, 2.0000001]]"), seen("[[1, 2]]")) == []
    assert crowd.different(seen("[[1, 2.1]]"), seen("[[1, 2]]")) == ["figure 0.0.z"]
    assert crowd.different(seen("[[1, null]]"), seen("[[1, 2]]"))
    encoded = '{"bdata": "AAAAAAAA8D8=", "dtype": "f8"}'  # 1.0
    assert crowd.different(seen(encoded), seen("[1]")) == []
    assert crowd.different(seen(encoded), seen("[2]"))
