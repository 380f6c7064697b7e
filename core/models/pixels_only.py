"""Networks with unsupported internals, for methods that need only pixels and answers."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor, nn

from core.errors import ImageError, UnsupportedModel
from core.models.tried import TriedModel


class PixelsOnly(TriedModel):
    """Any network with one logit per class.

    It has no taps and no layers. `Model.limits` says why.
    """

    def _prepare(self) -> None:
        self._begin()
        self.layers, self.taps = (), {}
        if not self.classes:
            raise UnsupportedModel(
                f"{self.spec.title} cannot be shown: it has no classes to explain, "
                "and its internal structure is unknown; choose another model, or state its labels."
            )
        side = self.preprocessing.size
        self._try_own((side, side))
        try:
            self._shapes_at((2 * side, 2 * side))
        except ImageError:
            self.flexible = False

    def _try_own(self, size: tuple[int, int]) -> None:
        """Run a pass at its own size: on shapes, or with values if that fails."""
        try:
            self._shapes_at(size)
        except ImageError:
            self._twin, self._tried_on = self.module, self.device
            try:
                self._shapes_at(size)
            except ImageError as error:
                raise UnsupportedModel(
                    f"{self.spec.title} cannot be shown: it fails at its own {size[1]} × {size[0]} "
                    "pixels; choose another model, or correct the input_size of its entry."
                ) from error

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        return True

    def grid_of(self, tap: str, size: tuple[int, int]) -> NoReturn:
        self._refuse(tap)

    def on_grid(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> NoReturn:
        self._refuse(tap)

    def check_layout(self, tensor: Tensor, tap: str, size: tuple[int, int]) -> NoReturn:
        self._refuse(tap)

    def _refuse(self, tap: str) -> NoReturn:
        self.tap(tap)  # raises, as there are no taps
        raise AssertionError(tap)
