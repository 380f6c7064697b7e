"""Swin of timm and torchvision: stages as feature maps, and attention within shifted windows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from core import probes
from core.errors import UnsupportedModel
from core.models.convnet import ConvNet
from core.models.taps import HEADS_MAP, Tap
from core.models.transformer import softmax_attention
from core.numerics import own_state

MASKED = -100.0
"""Value that both libraries add to the scores of places adjacent only by the shift."""


@dataclass(frozen=True)
class Cut:
    """The division of a grid of places into windows.

    Attributes
    ----------
    grid : tuple of int
        Rows and columns of places.
    window, shift : tuple of int
        Rows and columns of a window, and the cyclic shift up and to the left, in places.
    pads_first : bool
        Whether padding at the end is added before the shift or after it.
    """

    grid: tuple[int, int]
    window: tuple[int, int]
    shift: tuple[int, int]
    pads_first: bool

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns of whole windows."""
        rows, cols = (-(-n // w) * w for n, w in zip(self.grid, self.window, strict=True))
        return rows, cols

    def windows(self, places: Tensor) -> Tensor:
        """(batch, rows, columns, channels) as (batch, windows, places of a window, channels)."""
        missing = [whole - n for whole, n in zip(self.padded, self.grid, strict=True)]
        back = [-shift for shift in self.shift]
        if self.pads_first:
            places = functional.pad(places, (0, 0, 0, missing[1], 0, missing[0]))
        places = places.roll(back, dims=(1, 2))
        if not self.pads_first:
            places = functional.pad(places, (0, 0, 0, missing[1], 0, missing[0]))
        (rows, cols), (high, wide) = self.padded, self.window
        cut = places.reshape(len(places), rows // high, high, cols // wide, wide, -1)
        return cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def places(self, windows: Tensor) -> Tensor:
        """The inverse of `windows`: (batch, rows, columns, channels)."""
        (rows, cols), (high, wide) = self.padded, self.window
        cut = windows.reshape(len(windows), rows // high, cols // wide, high, wide, -1)
        places = cut.transpose(2, 3).reshape(len(windows), rows, cols, -1)
        if not self.pads_first:
            places = places[:, : self.grid[0], : self.grid[1]]
        places = places.roll(list(self.shift), dims=(1, 2))
        return places[:, : self.grid[0], : self.grid[1]]

    def mask(self, device: torch.device) -> Tensor:
        """The mask of scores, (windows, query, key): `MASKED` between opposite ends of the grid."""
        regions = []
        for n, window, shift in zip(self.padded, self.window, self.shift, strict=True):
            along = torch.arange(n, device=device, dtype=torch.float32)
            ends = (along >= n - window).float() + (along >= n - shift).float()
            regions.append(ends if shift else torch.zeros_like(ends))
        labels = 3 * regions[0][:, None] + regions[1]
        whole = Cut(self.padded, self.window, (0, 0), True)
        own = whole.windows(labels[None, :, :, None])[0, :, :, 0]
        return torch.where(own[:, :, None] == own[:, None], 0.0, MASKED)


class WindowedNet(ConvNet):
    """A Swin, with attention only within windows (Liu et al. 2021).

    In every second block the windows are shifted. Taps ``window.i.attention`` hold what each place
    receives of the attention of its window, at its place in the picture, for each block and head.
    Attention is not multiplied across blocks: between stages a projection merges four places into
    one, which does not define the share of each place.
    """

    def _prepare(self) -> None:
        super()._prepare()
        self._blocks: dict[str, Any] = {}
        taps = dict(self.taps)
        for path, block in self.module.named_modules():
            if hasattr(block, "attn") and hasattr(block, "norm1"):
                name = f"window.{len(self._blocks)}.attention"
                self._blocks[name] = block
                heads = int(block.attn.num_heads)
                taps[name] = Tap(name, HEADS_MAP, 1, "attention within shifted windows", heads)
                probes.probe_output(block.norm1, f"{name}.normed")
                probes.probe_output(block.attn, f"{name}.attended")
                twin = self._twin.get_submodule(path)
                probes.probe_output(twin.norm1, f"{name}.normed")  # type: ignore[arg-type]
        self.taps = taps
        self._shapes.clear()  # they lack the new probes
        self._verify()

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        library = type(module).__module__.partition(".")[0]
        known: type[nn.Module]
        if library == "timm":
            from timm.models.swin_transformer import SwinTransformer, WindowAttention

            network, known = SwinTransformer, WindowAttention
        elif library == "torchvision":
            from torchvision.models import swin_transformer

            network = swin_transformer.SwinTransformer
            known = swin_transformer.ShiftedWindowAttention
        else:
            return False
        parts = [part.attn for part in module.modules() if hasattr(part, "attn")]
        return isinstance(module, network) and all(type(part) is known for part in parts)

    # -- reading ------------------------------------------------------------------------------

    def probes_for(self, taps: Collection[str]) -> frozenset[str]:
        return frozenset(f"{tap}.normed" if tap in self._blocks else tap for tap in taps)

    def read(self, tensors: Mapping[str, Tensor], tap: str) -> Tensor:
        if tap not in self._blocks:
            return super().read(tensors, tap)
        with own_state():
            normed = tensors[f"{tap}.normed"]
            attention = self._attention(tap, normed)[0]
            received = attention.mean(dim=3).transpose(2, 3)  # (batch, windows, key, heads)
            return self.cut(tap, normed).places(received).permute(0, 3, 1, 2)

    def cut(self, tap: str, normed: Tensor) -> Cut:
        """The windows of a block for the input of its attention."""
        block, grid = self._blocks[tap], (normed.shape[1], normed.shape[2])
        if hasattr(block, "window_size"):  # timm: fixed at construction, padded after the shift
            window, shift = tuple(block.window_size), tuple(block.shift_size)
            return Cut(grid, window, shift, pads_first=False)
        window = tuple(block.attn.window_size)
        cut = Cut(grid, window, (0, 0), pads_first=True)
        sides = zip(block.attn.shift_size, window, cut.padded, strict=True)
        rows, cols = (0 if w >= whole else int(s) for s, w, whole in sides)
        return Cut(grid, window, (rows, cols), pads_first=True)

    def _attention(self, tap: str, normed: Tensor) -> tuple[Tensor, Tensor]:
        """``softmax(q·kᵀ · scale + bias + mask)``, and values, of (batch, windows, heads, …)."""
        block = self._blocks[tap]
        attention, cut = block.attn, self.cut(tap, normed)
        windows = cut.windows(normed)
        batch, count, area, _ = windows.shape
        joint = functional.linear(windows, attention.qkv.weight, attention.qkv.bias)
        heads = int(attention.num_heads)
        parts = joint.reshape(batch * count, area, 3, heads, -1).permute(2, 0, 3, 1, 4)
        read = getattr(attention, "_get_rel_pos_bias", None) or attention.get_relative_position_bias
        bias = read().reshape(1, heads, area, area) + cut.mask(normed.device)[:, None]
        weights = softmax_attention(
            parts[0].reshape(batch, count * heads, area, -1),
            parts[1].reshape(batch, count * heads, area, -1),
            parts.shape[-1] ** -0.5,
            bias.flatten(0, 1),
        )
        by_window = (batch, count, heads, area, -1)
        return weights.reshape(by_window), parts[2].reshape(by_window)

    def grid_of(self, tap: str, size: tuple[int, int]) -> tuple[int, int]:
        if tap not in self._blocks:
            return super().grid_of(tap, size)
        rows, cols = self._shapes_at(size)[f"{tap}.normed"][1:3]
        return rows, cols

    def check_layout(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> None:
        if tap not in self._blocks:
            return super().check_layout(tensor, tap, size)
        return self._refuse_layout(
            tensor, tap, (len(tensor), self.taps[tap].heads, *self.grid_of(tap, size))
        )

    # -- the check ----------------------------------------------------------------------------

    @own_state()
    def _verify(self) -> None:
        """Compare rebuilt attention with every block's output, in one pass over noise.

        Raises
        ------
        UnsupportedModel
            They differ, so maps of windows would be wrong.
        """
        side = self.preprocessing.size
        noise = torch.randn(
            (1, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )
        names = [f"{tap}.{what}" for tap in self._blocks for what in ("normed", "attended")]
        recorder = probes.Recorder(names)
        with probes.recording(recorder):
            self.score(noise.to(self.device))
        for tap, block in self._blocks.items():
            normed = recorder.tensors[f"{tap}.normed"]
            attended = recorder.tensors[f"{tap}.attended"]
            cut = self.cut(tap, normed)
            weights, values = self._attention(tap, normed)
            context = (weights @ values).transpose(2, 3).flatten(3)
            rebuilt = cut.places(block.attn.proj(context))
            if attended.shape != rebuilt.shape:  # of timm, still in windows
                attended = cut.places(attended.reshape(*context.shape[:3], -1))
            scale = float(attended.abs().max())
            if not torch.allclose(rebuilt, attended, rtol=1e-3, atol=1e-3 * scale) or not (
                torch.equal(cut.places(cut.windows(normed)), normed)
            ):
                reason = f"{tap} is not what its windows, queries, keys and biases give"
                raise UnsupportedModel(
                    f"{self.spec.title} cannot be shown: {reason}; choose another model.", reason
                )
