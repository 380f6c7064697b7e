"""PyTorch's state during computations, independent of the caller's.

Inference mode, autocast and gradient mode belong to a thread, the default dtype to the whole
process. The first three are set during a computation; the default dtype is never changed: every
tensor is created with a dtype, and a mode adds one where a library omits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

AUTOCAST = ("cpu", "cuda", "mps", "xpu")
"""Device types whose autocast a caller may have enabled."""

_ALWAYS_FLOAT = frozenset(
    {
        torch.empty,
        torch.eye,
        torch.fft.fftfreq,
        torch.fft.rfftfreq,
        torch.linspace,
        torch.logspace,
        torch.ones,
        torch.rand,
        torch.randn,
        torch.zeros,
    }
)
_FLOAT_OF_FLOATS = frozenset({torch.arange, torch.full, torch.tensor, torch.as_tensor})


class _SinglePrecision(TorchFunctionMode):
    """A mode in which new tensors without a stated dtype are float32 unless they are integers."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if options.get("dtype") is None and (
            func in _ALWAYS_FLOAT
            or (func in _FLOAT_OF_FLOATS and _holds_float([*args, *options.values()]))
        ):
            options["dtype"] = torch.float32
        return func(*args, **options)


def _holds_float(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_float, value))
    return isinstance(value, float)


@contextmanager
def own_state(gradients: bool | None = False) -> Iterator[None]:
    """Compute with PyTorch's default modes; for a ``with`` block or as a decorator.

    Autocast and inference mode are off, new tensors are float32 and on the CPU unless stated
    otherwise. Afterwards the state is restored. In a generator, use it around the work only, never
    around a ``yield``: the consumer's code runs in the same thread meanwhile.

    Parameters
    ----------
    gradients
        Whether operations are recorded for a backward pass; ``None`` leaves that to the caller.
    """
    # Read before inference mode is left, which enables gradients.
    wanted = torch.is_grad_enabled() if gradients is None else gradients
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(wanted))
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.get_default_dtype() is not torch.float32:
            # Only then, as some modules choose another kernel while a mode is active.
            stack.enter_context(_SinglePrecision())
        yield
