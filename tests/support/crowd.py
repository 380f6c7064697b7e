"""Many people at once, over the protocol that the browser speaks with the server.

A `Visitor` holds one websocket, as a browser's tab does. It keeps the figures of its last run as
they came; they are read when nothing is timed any more.
"""

from __future__ import annotations

import asyncio
import base64
import http.cookiejar
import itertools
import json
import math
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Common_pb2 import FileUploaderState, UploadedFileInfo
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

FINISHED = ForwardMsg.ScriptFinishedStatus.Value("FINISHED_SUCCESSFULLY")
COOKIE = "_streamlit_xsrf"
PATIENCE = 600.0
"""Seconds that a run may take."""


def health(address: str) -> dict[str, Any]:
    """What the server says of itself."""
    with urllib.request.urlopen(f"{address}/healthz", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@dataclass(frozen=True)
class Screen:
    """A page with what its address says."""

    page: str
    query: str


@dataclass
class Seen:
    """What a run showed.

    Attributes
    ----------
    figures : list of str
        Specifications of the Plotly figures, in the order of the page.
    errors : list of str
        What went wrong: tracebacks, and sentences in red.
    notes : list of str
        What else was said in boxes.
    seconds : float
        From the question to the end of the run.
    """

    figures: list[str]
    errors: list[str]
    notes: list[str]
    seconds: float


@dataclass
class Visitor:
    """A session; see `visitor`."""

    address: str
    socket: ClientConnection
    page: str = ""
    query: str = ""
    session: str = ""
    elements: dict[tuple[int, ...], Any] = field(default_factory=dict)
    files: list[UploadedFileInfo] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def look(self, screen: Screen) -> Seen:
        """Enter an address, or change it, and wait for the end of the run."""
        await self.ask(screen)
        return await self.end()

    async def ask(self, screen: Screen) -> None:
        """Enter an address without waiting for anything."""
        self.page, self.query, self.files = screen.page, screen.query, []
        await self._run([])

    async def press(self, label: str) -> Seen:
        """Press a button."""
        buttons = [e.button for e in self.elements.values() if e.WhichOneof("type") == "button"]
        pressed = next(button.id for button in buttons if button.label.endswith(label))
        await self._run([WidgetState(id=pressed, trigger_value=True)])
        return await self.end()

    async def upload(self, key: str, name: str, data: bytes) -> Seen:
        """Put a file into an uploader for one, as the browser does; the file before it goes."""
        widget = self.widget("file_uploader", key)
        asked = BackMsg()
        asked.file_urls_request.request_id = uuid.uuid4().hex
        asked.file_urls_request.file_names.append(name)
        asked.file_urls_request.session_id = self.session
        await self.socket.send(asked.SerializeToString())
        while True:
            message = await self._next()
            if message.WhichOneof("type") == "file_urls_response":
                break
        urls = message.file_urls_response.file_urls[0]
        await asyncio.to_thread(_send, self.address, urls.upload_url, name, data)
        before, self.files = (
            self.files,
            [UploadedFileInfo(file_id=urls.file_id, name=name, size=len(data), file_urls=urls)],
        )
        state = FileUploaderState(uploaded_file_info=self.files)
        await self._run([WidgetState(id=widget, file_uploader_state_value=state)])
        for gone in before:
            await asyncio.to_thread(_send, self.address, gone.file_urls.delete_url)
        return await self.end()

    async def tell(self, message: BackMsg) -> None:
        """Send whatever a browser could send, and wait for nothing."""
        await self.socket.send(message.SerializeToString())

    def widget(self, kind: str, key: str) -> str:
        """Full id of a widget of the last run."""
        ids = [getattr(e, kind).id for e in self.elements.values() if e.WhichOneof("type") == kind]
        return next(found for found in ids if found.endswith(f"-{key}"))

    async def end(self) -> Seen:
        """Wait for the end of the run that was asked for last."""
        while True:
            message = await self._next()
            if message.WhichOneof("type") == "script_finished" and (
                message.script_finished == FINISHED
            ):
                break
        figures, errors, notes = [], [], []
        for _, element in sorted(self.elements.items()):
            match element.WhichOneof("type"):
                case "plotly_chart":
                    figures.append(element.plotly_chart.spec)
                case "exception":
                    errors.append(f"{element.exception.type}: {element.exception.message}")
                case "alert":
                    alert = element.alert
                    (errors if alert.format == alert.ERROR else notes).append(alert.body)
        return Seen(figures, errors, notes, time.perf_counter() - self._asked)

    async def _run(self, widgets: Sequence[WidgetState]) -> None:
        asked = BackMsg()
        state = asked.rerun_script
        state.query_string, state.page_name = self.query, self.page
        state.context_info.url = f"{self.address}/{self.page}"
        state.widget_states.widgets.extend(widgets)
        self._asked = time.perf_counter()
        await self.socket.send(asked.SerializeToString())

    async def _next(self) -> ForwardMsg:
        async with asyncio.timeout(PATIENCE):
            payload = await self.socket.recv()
        message = ForwardMsg()
        message.ParseFromString(payload)
        match message.WhichOneof("type"):
            case "new_session":
                self.session = message.new_session.initialize.session_id
                self.elements = {}
            case "page_info_changed":
                self.query = message.page_info_changed.query_string
            case "delta":
                place = tuple(message.metadata.delta_path)
                for within in [p for p in self.elements if p[: len(place)] == place]:
                    del self.elements[within]  # what stood there, or inside of it
                if message.delta.WhichOneof("type") == "new_element":
                    element = message.delta.new_element
                    self.elements[place] = element
                    if element.WhichOneof("type") == "alert":
                        self.told.append(element.alert.body)
        return message


@asynccontextmanager
async def visitor(address: str) -> AsyncIterator[Visitor]:
    """A session that ends with the block, as when a tab is closed."""
    where = f"ws://{urlsplit(address).netloc}/_stcore/stream"
    # A busy machine may be late with its answer to a ping.
    async with connect(
        where, subprotocols=["streamlit"], max_size=None, ping_interval=None
    ) as socket:
        yield Visitor(address, socket)


def _send(address: str, path: str, name: str = "", data: bytes | None = None) -> None:
    """Upload a file, or without ``data`` delete it."""
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    opener.open(f"{address}/_stcore/health").close()
    headers = {"X-Xsrftoken": next(c.value or "" for c in jar if c.name == COOKIE)}
    body = None
    if data is not None:
        edge = uuid.uuid4().hex
        headers["Content-Type"] = f"multipart/form-data; boundary={edge}"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        body = (
            head.encode() + b"Content-Type: image/png\r\n\r\n" + data + f"\r\n--{edge}--".encode()
        )
    asked = urllib.request.Request(
        address + path, data=body, headers=headers, method="DELETE" if data is None else "PUT"
    )
    opener.open(asked).close()


# -- what a crowd does ---------------------------------------------------------------------------

IMAGES = ("chelsea", "cat-beside-cup", "coffee", "camera", "cup-beside-tripod", "rocket")
PAGES: tuple[tuple[str, tuple[Mapping[str, Any], ...]], ...] = (
    (
        "compare",
        (
            {"vit_map": "rollout", "cnn_map": "cam"},
            {"vit_map": "legrad", "cnn_map": "layer_cam", "clip": 95},
            {"vit_map": "transformer_attribution", "cnn_map": "grad_cam_plus_plus"},
            {"vit_map": "grad_cam", "cnn_map": "hirescam", "fit": "pad"},
            {"vit_map": "occlusion", "cnn_map": "cam", "vit_map.patch": 56},
        ),
    ),
    (
        "attention",
        (
            {"tab": "grid"},
            {"tab": "layer", "layer": 3, "query": "r4c7"},
            {"tab": "joint", "discard": 0.4},
            {"tab": "similarity"},
            {"tab": "several"},
        ),
    ),
    (
        "gradient_rollout",
        (
            {"classes": ["espresso", "tabby"]},
            {"class_map": "transformer_attribution", "classes": "tabby"},
            {"size": "336", "classes": "cup"},
        ),
    ),
    (
        "evidence",
        (
            {"change": "shuffle", "strength": 4},
            {"change": "drop", "fill": "mean"},
            {"question": "pointing"},
        ),
    ),
    ("activation_maximization", ({"classes": "espresso"}, {"objective": "channel"})),
)
"""By page, what is chosen on it."""


def screens() -> Iterator[Screen]:
    """Different screens without end, the pages in turn."""
    choices = [itertools.cycle(chosen) for _, chosen in PAGES]
    for number in itertools.count():
        place = number % len(PAGES)
        query = {"image": IMAGES[number // len(PAGES) % len(IMAGES)], **next(choices[place])}
        yield Screen(PAGES[place][0], urlencode(query, doseq=True))


def plan(people: int, reruns: int) -> list[list[Screen]]:
    """What each of so many people looks at, so many screens in all."""
    stream = screens()
    found: list[list[Screen]] = [[] for _ in range(people)]
    for number in range(reruns):
        found[number % people].append(next(stream))
    return found


async def _one(address: str, looked_at: Sequence[Screen]) -> list[Seen]:
    async with visitor(address) as somebody:
        return [await somebody.look(screen) for screen in looked_at]


async def one_after_another(address: str, plan: Sequence[Sequence[Screen]]) -> list[list[Seen]]:
    """Each person alone."""
    return [await _one(address, looked_at) for looked_at in plan]


async def together(address: str, plan: Sequence[Sequence[Screen]]) -> list[list[Seen]]:
    """All at once."""
    return list(await asyncio.gather(*(_one(address, looked_at) for looked_at in plan)))


# -- what was seen -------------------------------------------------------------------------------


def arrays(spec: str) -> dict[str, np.ndarray]:
    """All lists and arrays of numbers among the data of a figure, by where they stand."""
    found: dict[str, np.ndarray] = {}

    def visit(value: Any, place: str) -> None:
        if isinstance(value, dict) and "bdata" in value:
            data = np.frombuffer(base64.b64decode(value["bdata"]), np.dtype(value["dtype"]))
            found[place] = data.astype(float)
        elif isinstance(value, dict):
            for key, inner in value.items():
                visit(inner, f"{place}.{key}")
        elif isinstance(value, list):
            try:
                found[place] = np.array(value, dtype=float)  # None becomes NaN
            except (TypeError, ValueError):
                for number, inner in enumerate(value):
                    visit(inner, f"{place}.{number}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[place] = np.array(float(value))

    visit(json.loads(spec)["data"], "")
    return found


def different(one: Seen, other: Seen) -> list[str]:
    """Where two runs of the same screen show other numbers; rounding is forgiven."""
    if len(one.figures) != len(other.figures):
        return [f"{len(one.figures)} figures and {len(other.figures)}"]
    found = []
    for number, pair in enumerate(zip(one.figures, other.figures, strict=True)):
        first, second = map(arrays, pair)
        if first.keys() != second.keys():
            found.append(f"figure {number} has other parts")
            continue
        for place, values in first.items():
            there = second[place]
            largest = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
            if values.shape != there.shape or not np.allclose(
                values, there, rtol=1e-3, atol=1e-4 * largest, equal_nan=True
            ):
                found.append(f"figure {number}{place}")
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of all does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
