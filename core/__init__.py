"""See how a convolutional network and a vision transformer look at the same picture.

The public interface. Nothing in this package knows a user interface.
"""

from core.attention_maps import Attention, attention
from core.errors import ParallaxError
from core.explanations import Explanation, explain, predict
from core.images import Framing, read_image
from core.maximize.objectives import (
    block_channel,
    class_logit,
    conv_channel,
    head_channel,
    mlp_channel,
)
from core.maximize.optimize import Maximization, maximize
from core.maximize.regularize import Regularization
from core.methods.registry import Method, methods
from core.models import Model, open_model
from core.models.base import shared_view
from core.models.spec import ModelSpec, catalog
from core.recordings import Prediction, Recording, record

__all__ = [
    "Attention",
    "Explanation",
    "Framing",
    "Maximization",
    "Method",
    "Model",
    "ModelSpec",
    "ParallaxError",
    "Prediction",
    "Recording",
    "Regularization",
    "attention",
    "block_channel",
    "catalog",
    "class_logit",
    "conv_channel",
    "explain",
    "head_channel",
    "maximize",
    "methods",
    "mlp_channel",
    "open_model",
    "predict",
    "read_image",
    "record",
    "shared_view",
]
