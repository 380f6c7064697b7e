"""Write core/models/shapes.json.gz: names and shapes of the weights of every architecture.

Every classifier of timm and torchvision is built without memory, and those of transformers in
common sizes of the hub. Run it again when a library has new architectures::

    python -m data.recipes.weight_shapes
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
from collections.abc import Iterator
from typing import Any

from torch import nn

from core.models.building import WithoutMemory, without_memory
from core.models.shapes import TABLE, signature
from core.models.spec import ModelSpec

logger = logging.getLogger(__name__)

CLASSES = 1000

Row = tuple[tuple[str, ...], str, tuple[Any, ...]]
"""Paths of classifiers, signature, and the fields of `core.models.shapes.Known`."""


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all entries of a network's state dict."""
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def of_timm() -> Iterator[Row]:
    """Rows of all classifiers of timm."""
    import timm

    for name in timm.list_models():
        try:
            module = without_memory(ModelSpec(name, name, "cnn", "timm", name), CLASSES, {})
        except Exception as error:  # networks that are not classifiers
            logger.warning("%s is left out: %s", name, error)
            continue
        if module is None:  # its constructor needs values
            module = timm.create_model(name, num_classes=CLASSES)
        config: Any = module.pretrained_cfg
        paths = config.get("classifier") or ()
        paths = (paths,) if isinstance(paths, str) else tuple(paths)
        size = int((config.get("input_size") or (3, 224, 224))[-1])
        yield paths, signature(shapes_of(module), paths), ("timm", name, size)


def of_torchvision() -> Iterator[Row]:
    """Rows of all image classifiers of torchvision."""
    import torchvision

    for name in torchvision.models.list_models(module=torchvision.models):
        with WithoutMemory():
            module = torchvision.models.get_model(name)
        linear = [path for path, part in module.named_modules() if isinstance(part, nn.Linear)]
        paths = (linear or ["classifier.1"])[-1:]  # SqueezeNet ends in a convolution
        weights = torchvision.models.get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
        size = int(weights.transforms().crop_size[0])
        yield tuple(paths), signature(shapes_of(module), paths), ("torchvision", name, size)


def vit(width: int, depth: int, heads: int, **more: Any) -> dict[str, Any]:
    """The arguments of a transformer's configuration."""
    sizes = {"hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
    return {**sizes, "intermediate_size": 4 * width, **more}


TINY, SMALL, BASE, LARGE = (192, 12, 3), (384, 12, 6), (768, 12, 12), (1024, 24, 16)
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "vit-tiny-patch16-224": ("vit", vit(*TINY)),
    "vit-small-patch16-224": ("vit", vit(*SMALL)),
    "vit-base-patch16-224": ("vit", vit(*BASE)),
    "vit-base-patch32-224": ("vit", vit(*BASE, patch_size=32)),
    "vit-base-patch8-224": ("vit", vit(*BASE, patch_size=8)),
    "vit-large-patch16-224": ("vit", vit(*LARGE)),
    "vit-large-patch32-224": ("vit", vit(*LARGE, patch_size=32)),
    "vit-huge-patch14-224": ("vit", vit(1280, 32, 16, patch_size=14)),
    "deit-tiny-distilled-patch16-224": ("deit", vit(*TINY)),
    "deit-small-distilled-patch16-224": ("deit", vit(*SMALL)),
    "deit-base-distilled-patch16-224": ("deit", vit(*BASE)),
    **{
        f"dinov2-{kind}{name}": (
            model_type,
            {
                "hidden_size": sizes[0],
                "num_hidden_layers": sizes[1],
                "num_attention_heads": sizes[2],
                "patch_size": 14,
                "image_size": 518,
            },
        )
        for model_type, kind in (("dinov2", ""), ("dinov2_with_registers", "with-registers-"))
        for name, sizes in (("small", SMALL), ("base", BASE), ("large", LARGE))
    },
    **{
        f"{model_type}-{name}-224": (model_type, {"depths": depths, "hidden_sizes": widths})
        for model_type in ("convnext", "convnextv2")
        for name, depths, widths in (
            ("tiny", [3, 3, 9, 3], [96, 192, 384, 768]),
            ("small", [3, 3, 27, 3], [96, 192, 384, 768]),
            ("base", [3, 3, 27, 3], [128, 256, 512, 1024]),
            ("large", [3, 3, 27, 3], [192, 384, 768, 1536]),
        )
    },
    **{
        f"resnet-{name}": (
            "resnet",
            {
                "depths": depths,
                "layer_type": kind,
                "hidden_sizes": [64, 128, 256, 512] if kind == "basic" else [256, 512, 1024, 2048],
            },
        )
        for name, kind, depths in (
            (18, "basic", [2, 2, 2, 2]),
            (34, "basic", [3, 4, 6, 3]),
            (50, "bottleneck", [3, 4, 6, 3]),
            (101, "bottleneck", [3, 4, 23, 3]),
            (152, "bottleneck", [3, 8, 36, 3]),
        )
    },
    **{
        f"swin-{name}-patch4-window7-224": (
            "swin",
            {"embed_dim": width, "depths": depths, "num_heads": heads},
        )
        for name, width, depths, heads in (
            ("tiny", 96, [2, 2, 6, 2], [3, 6, 12, 24]),
            ("small", 96, [2, 2, 18, 2], [3, 6, 12, 24]),
            ("base", 128, [2, 2, 18, 2], [4, 8, 16, 32]),
        )
    },
    "beit-base-patch16-224": (
        "beit",
        vit(*BASE, use_relative_position_bias=True, layer_scale_init_value=0.1),
    ),
}
"""Common sizes on the hub: name, type and differences of its configuration."""


def of_transformers() -> Iterator[Row]:
    """Rows of classifiers of transformers, under earlier and current names of tensors."""
    from transformers import AutoConfig
    from transformers.core_model_loading import revert_weight_conversion
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    for name, (model_type, settings) in TRANSFORMERS.items():
        config = AutoConfig.for_model(model_type, **settings)
        kinds = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(config)]
        kind = kinds[-1] if isinstance(kinds, tuple) else kinds  # DeiT with both classifiers
        with WithoutMemory():
            module = kind(config)
        paths = tuple(
            path
            for path, part in module.named_modules()
            if isinstance(part, nn.Linear) and path.split(".")[0].endswith("classifier")
        )
        fields = ("transformers", name, int(getattr(config, "image_size", 224)))
        described = {"model_type": model_type, **settings}
        now = module.state_dict()
        seen = set()
        for state in (now, revert_weight_conversion(module, dict(now))):
            shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
            digest = signature(shapes, paths)
            if digest not in seen:
                yield paths, digest, (*fields, described)
            seen.add(digest)


def main() -> None:
    """Build everything once and write the table."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0]).parse_args()
    groups: dict[tuple[tuple[str, ...], str], list[tuple[Any, ...]]] = {}
    for rows in (of_timm(), of_torchvision(), of_transformers()):
        for paths, digest, fields in rows:
            groups.setdefault((paths, digest), []).append(fields)
    table = [[list(paths), digest, *each] for (paths, digest), each in sorted(groups.items())]
    text = json.dumps(table, separators=(",", ":"))
    TABLE.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{sum(len(each) for each in groups.values())} architectures, {len(groups)} signatures")


if __name__ == "__main__":
    main()
