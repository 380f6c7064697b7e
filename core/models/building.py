"""Networks of timm, built around loaded weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.errors import WeightsError
from core.models.heads import suit_head
from core.models.libraries import ensure_imported
from core.models.spec import ModelSpec

logger = logging.getLogger(__name__)


def check_values(spec: ModelSpec, state: Mapping[str, Tensor]) -> None:
    """Reject weights that are not finite: maps of them would be invalid, perhaps not visibly."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(
                f"The weights of {spec.title} hold values that are not numbers (NaN or infinite, "
                f"in {name!r}); restore the file or export it again."
            )


def _check_fit(
    spec: ModelSpec, module: nn.Module, state: Mapping[str, Tensor], computed: Collection[str] = ()
) -> None:
    """Reject weights of another network, in one sentence: the library lists all tensors."""
    wanted = module.state_dict()
    differences = [
        *(f"{name!r} is missing" for name in wanted.keys() - state.keys() - set(computed)),
        *(f"{name!r} is unexpected" for name in state.keys() - wanted.keys()),
        *(
            f"{name!r} is {_shape(state[name])} where {_shape(wanted[name])} is expected"
            for name in wanted.keys() & state.keys()
            if state[name].shape != wanted[name].shape
        ),
    ]
    if differences:
        more = f", and {len(differences) - 1} more" if len(differences) > 1 else ""
        raise WeightsError(
            f"The weights of {spec.title} do not fit the architecture {spec.architecture!r} "
            f"({min(differences)[:160]}{more}); check the entry's architecture, labels and "
            "checkpoint."
        )


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "one number"


def timm_module(spec: ModelSpec, **options: Any) -> nn.Module:
    """A network of timm; ``options`` go to its ``create_model``."""
    ensure_imported("timm")
    import timm

    module: nn.Module
    if spec.family == "vit":
        try:
            # Allow any multiple of the patch size; the position embedding is interpolated.
            module = timm.create_model(spec.architecture, dynamic_img_size=True, **options)
            return module
        except TypeError:
            pass  # accepts its own size only, or is not a plain transformer: its family decides
    module = timm.create_model(spec.architecture, **options)
    return module


_FILLING = frozenset(
    {
        "add_",
        "clamp_",
        "constant_",
        "copy_",
        "div_",
        "erfinv_",
        "fill_",
        "kaiming_normal_",
        "kaiming_uniform_",
        "mul_",
        "normal_",
        "ones_",
        "trunc_normal_",
        "uniform_",
        "xavier_normal_",
        "xavier_uniform_",
        "zero_",
        "zeros_",
    }
)
"""Names of functions that fill a tensor in place."""


class WithoutMemory(TorchFunctionMode):
    """A mode in which new tensors get no memory and functions that fill them do nothing.

    Unlike the device ``meta`` for all tensors, it lets constructors compute the values they need.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        elif getattr(func, "__name__", "") in _FILLING:
            target = args[0] if args else options.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **options)


def filled(
    spec: ModelSpec,
    classes: int,
    tensors: Mapping[str, Tensor],
    computed: Collection[str] = (),
    bare: nn.Module | None = None,
    **options: Any,
) -> nn.Module:
    """A network of timm with these weights, as float32.

    Built without memory first: timm draws random numbers for every weight, which takes longer than
    reading the file.

    Parameters
    ----------
    classes
        Number of classes.
    tensors
        By the names of the network.
    computed
        Names that may be missing, as the network computes these tensors.
    bare
        The network, if already built, perhaps by `without_memory`; it must not be used again.
    **options
        Other arguments of timm's constructor.
    """
    # Copied, as a memory-mapped file may be overwritten while the network is in use.
    sums: list[Tensor] = []
    state = {name: _copied(tensor, sums) for name, tensor in tensors.items()}
    # The sum of a just-copied piece is cheap; sums of large values may overflow.
    if sums and not torch.stack(sums).isfinite().all():
        check_values(spec, state)
    module = without_memory(spec, classes, state, **options) if bare is None else bare
    if module is not None:
        _check_fit(spec, module, state, computed)
        module.load_state_dict(state, strict=not computed, assign=True)
        if not lacks_memory(module):
            return module
    # Some buffers are computed and not stored, so they have to be built.
    module = timm_module(spec, num_classes=classes, **options)
    suit_head(module, state)
    _check_fit(spec, module, state, computed)
    module.load_state_dict(state, strict=not computed)
    return module


PIECE = 30 * 1024
"""Elements that PyTorch copies without a second thread."""


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors, as float32 unless they are integers.

    A memory-mapped file may then be overwritten while the network is in use.
    """
    sums: list[Tensor] = []
    return {name: _copied(tensor, sums) for name, tensor in tensors.items()}


def _copied(tensor: Tensor, sums: list[Tensor]) -> Tensor:
    """A copy of the tensor, as float32 unless it is an integer tensor.

    In pieces so small that PyTorch uses no second thread: it would wait for the one that computes
    the checksum. The sums of the pieces are added to ``sums``.
    """
    copied = torch.empty(
        tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype
    )
    sources = torch.split(tensor.reshape(-1), PIECE)
    for source, target in zip(sources, torch.split(copied.view(-1), PIECE), strict=True):
        target.copy_(source)
        if copied.is_floating_point():
            sums.append(target.sum())
    return copied


def without_memory(
    spec: ModelSpec, classes: int, state: Mapping[str, Tensor], **options: Any
) -> nn.Module | None:
    """The network with weights on the meta device; ``None`` if its constructor needs values."""
    ensure_imported("timm")  # before the mode, which is for the network's own tensors
    try:
        with WithoutMemory():
            module = timm_module(spec, num_classes=classes, **options)
            suit_head(module, state)
            return module
    except (RuntimeError, NotImplementedError):
        logger.debug("%s cannot be built without memory", spec.architecture, exc_info=True)
        return None


def lacks_memory(module: nn.Module) -> bool:
    """Whether a parameter, a buffer or a tensor kept as a plain attribute has no values."""
    kept = (value for part in module.modules() for value in vars(part).values())
    tensors = (*module.parameters(), *module.buffers(), *kept)
    return any(isinstance(tensor, Tensor) and tensor.is_meta for tensor in tensors)
