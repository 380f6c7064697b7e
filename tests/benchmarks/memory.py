"""Peak memory of a pass, with and without what explanations keep of it.

Each scenario runs in a process of its own (``python -m tests.benchmarks.memory MODEL CALL
THREADS``), which says by how much its resident memory rose above rest. Large blocks go back to the
system at once there, so that the peak is what is in use at the same time.
"""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

import core
from core.models import Model, wrap
from core.models.preprocessing import Preprocessing
from core.models.sources import Loaded
from core.models.spec import ModelSpec
from tests.benchmarks.speed import GIVEN, VIT, bare, view_of
from tests.benchmarks.timing import Row

MIB = 1024**2
ROOT = Path(__file__).resolve().parents[2]


def small_patches() -> tuple[Model, Image.Image]:
    """ViT-S/8 with random weights and a picture of 480 pixels: 3,601 tokens."""
    import timm

    torch.manual_seed(0)
    module = timm.create_model("vit_small_patch8_224", dynamic_img_size=True)
    spec = ModelSpec("vit-s8", "ViT-S/8", "vit", "local", "vit_small_patch8_224")
    labels = tuple(str(index) for index in range(module.num_classes))
    model = wrap(spec, Loaded(module, labels, Preprocessing(size=480)))
    return model, Image.effect_noise((480, 480), 60).convert("RGB")


def embedded() -> tuple[Model, Image.Image]:
    """The embedded ViT and a photograph of 518 pixels: 1,370 tokens."""
    model = core.open_model(VIT)
    return model, view_of(model, 518)


def head_maps(model: Model, view: Image.Image) -> object:
    """The head maps of the last layer; nothing else is recorded."""
    last = len(model.layers) - 1
    recording = core.record(model, view, GIVEN, core.needs(model, "attention", layer=last))
    return core.attention(model, recording).maps(last)


def rollout(model: Model, view: Image.Image) -> object:
    """Rollout of all layers."""
    return core.explain(model, view, "rollout", framing=GIVEN)


MODELS: dict[str, Callable[[], tuple[Model, Image.Image]]] = {
    "DINOv2 ViT-S/14 at 518 px": embedded,
    "ViT-S/8 at 480 px": small_patches,
}
CALLS: dict[str, Callable[[Model, Image.Image], object]] = {
    "bare": lambda model, view: bare(model, view)(),
    "head maps": head_maps,
    "rollout": rollout,
}


def resident(field: str) -> float:
    """``VmRSS`` or ``VmHWM`` of this process in MiB."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"{field}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def scenario(name: str, call: str) -> dict[str, float]:
    """Rise of the memory above rest at its peak, one layer's attention, the weights; in MiB."""
    model, view = MODELS[name]()
    small = view.resize((112, 112))  # kernels and buffers that the first pass makes once
    for warm in CALLS.values():
        warm(model, small)
    gc.collect()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        rest = torch.cuda.memory_allocated() / MIB
        CALLS[call](model, view)
        peak = torch.cuda.max_memory_allocated() / MIB
    else:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forgets the last peak
        rest = resident("VmRSS")
        CALLS[call](model, view)
        peak = resident("VmHWM")
    rows, cols = model.grid((view.height, view.width))  # type: ignore[attr-defined]
    tokens = model.prefix + rows * cols  # type: ignore[attr-defined]
    attention = model.heads * tokens**2 * 4 / MIB  # type: ignore[attr-defined]
    weights = sum(part.numel() * part.element_size() for part in model.module.parameters()) / MIB
    return {"rise": peak - rest, "one layer's attention": attention, "weights": weights}


def apart(name: str, call: str, threads: int) -> dict[str, float]:
    """`scenario` in a process of its own."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.memory", name, call, str(threads)],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def rows(threads: int) -> list[Row]:
    """Head maps and rollout against the bare pass, at two large grids."""
    found = []
    for name in MODELS:
        peaks = {call: apart(name, call, threads) for call in CALLS}
        rise = {f"{call} MiB": round(peak["rise"], 1) for call, peak in peaks.items()}
        attention = peaks["bare"]["one layer's attention"]
        weights = peaks["bare"]["weights"]
        details = {
            **rise,
            "one layer's attention MiB": round(attention, 1),
            "weights MiB": round(weights, 1),
        }
        base, heads = peaks["bare"]["rise"], peaks["head maps"]["rise"]
        extra = (peaks["rollout"]["rise"] - base) / attention
        found += [
            Row(
                f"head maps of the last layer alone, {name}: peak memory above rest",
                "bare pass",
                heads / base,
                reach=1.15,
                details=details,
                note=f"with the weights counted {(weights + heads) / (weights + base):.2f} ×",
                reason="queries and keys of the layer stay, so that any query can be chosen later",
            ),
            Row(
                f"rollout, {name}: peak memory beyond the bare pass",
                "one layer's attention",
                extra,
                reach=1.0,
                details=details,
                reason="queries and keys of all twelve layers are kept, and a few matrices of "
                "one head exist at a time",
            ),
        ]
    return found


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    print(json.dumps(scenario(sys.argv[1], sys.argv[2])))
