"""Explanations of convolutional networks and vision transformers for the same picture.

The public interface: applications, notebooks and sweeps import only this module. Nothing in this
package depends on a user interface.
"""

from core import heatmaps, rendering, representations, sweep
from core.attention import PROJECTIONS, Attention, attention, features
from core.capacity import admitted, configure, load
from core.errors import (
    BusyError,
    CatalogError,
    ImageError,
    ImageTimeout,
    MethodError,
    ModelError,
    NoZero,
    ParallaxError,
    ParameterError,
    Stopped,
    SweepError,
    UnknownModel,
    UnsupportedMethod,
    UnsupportedModel,
    WeightsError,
    ZeroGradient,
)
from core.evidence.baselines import baseline_maps
from core.evidence.chance import Judgment, Rival, judged
from core.evidence.changes import CHANGES, Change, Robustness, changed, robustness
from core.evidence.faithfulness import Faithfulness, faithfulness, faithfulness_stream
from core.evidence.pointing import grid_pointing, pointing_grid
from core.evidence.randomization import Randomization, depths_of, randomization
from core.evidence.removal import removal_grid, what_if, without
from core.explain import (
    Answer,
    Explanation,
    check_zero,
    count_passes,
    explain,
    explain_stream,
    needs,
    predict,
    versions,
)
from core.fills import FILLS, filled, on_pixels
from core.images import FITS, Fit, Framing, digest, fit_image, read_image
from core.labels import read_labels, search_labels
from core.layerwise.ablation import ABLATIONS, Ablation, ablate
from core.layerwise.attention_distance import AttentionDistance, attention_distance
from core.layerwise.cka import LayerSimilarity, cka
from core.layerwise.layers import depth_taps
from core.layerwise.logit_lens import LogitLens, logit_lens
from core.layerwise.neighbors import Neighbors, neighbors
from core.layerwise.receptive_field import ReceptiveField, receptive_field, receptive_fields
from core.layerwise.token_norms import TokenNorms, token_norms
from core.maximize.objectives import (
    Objective,
    block_channel,
    class_logit,
    conv_channel,
    head_channel,
    mlp_channel,
)
from core.maximize.optimize import Maximization, maximize, maximize_several
from core.maximize.regularize import Regularization, seam_energy_of
from core.maximize.transforms import Crops, Transforms
from core.methods.parameters import Parameter
from core.methods.registry import Method, changed_methods, find_method, methods
from core.models import Model, best_device, open_model
from core.models.convnet import ConvNet
from core.models.downloads import Download, download, size_text
from core.models.model import shared_view
from core.models.own import Proposal, add_model, propose
from core.models.preprocessing import Preprocessing
from core.models.spec import (
    MATCHED_PAIR,
    ModelSpec,
    catalog,
    catalog_problem,
    default_models,
    find_spec,
    own_models,
)
from core.models.taps import Layer, Tap
from core.models.transformer import Readout, VisionTransformer
from core.pictures import PictureFile, Sample, draw, picture_files, samples
from core.progress import POLL, waiting, watching
from core.recording.batches import Batch, record, record_stream, usual_needs
from core.recording.recording import Prediction, Recording
from core.recording.run import Needs
from core.sandbox import UntrustedPictures, read_untrusted_image, read_untrusted_images
from core.targets import Target, TargetLike, not_label, rather_than, read_target

__all__ = [
    "ABLATIONS",
    "CHANGES",
    "FILLS",
    "FITS",
    "MATCHED_PAIR",
    "POLL",
    "PROJECTIONS",
    "Ablation",
    "Answer",
    "Attention",
    "AttentionDistance",
    "Batch",
    "BusyError",
    "CatalogError",
    "Change",
    "ConvNet",
    "Crops",
    "Download",
    "Explanation",
    "Faithfulness",
    "Fit",
    "Framing",
    "ImageError",
    "ImageTimeout",
    "Judgment",
    "Layer",
    "LayerSimilarity",
    "LogitLens",
    "Maximization",
    "Method",
    "MethodError",
    "Model",
    "ModelError",
    "ModelSpec",
    "Needs",
    "Neighbors",
    "NoZero",
    "Objective",
    "ParallaxError",
    "Parameter",
    "ParameterError",
    "PictureFile",
    "Prediction",
    "Preprocessing",
    "Proposal",
    "Randomization",
    "Readout",
    "ReceptiveField",
    "Recording",
    "Regularization",
    "Rival",
    "Robustness",
    "Sample",
    "Stopped",
    "SweepError",
    "Tap",
    "Target",
    "TargetLike",
    "TokenNorms",
    "Transforms",
    "UnknownModel",
    "UnsupportedMethod",
    "UnsupportedModel",
    "UntrustedPictures",
    "VisionTransformer",
    "WeightsError",
    "ZeroGradient",
    "ablate",
    "add_model",
    "admitted",
    "attention",
    "attention_distance",
    "baseline_maps",
    "best_device",
    "block_channel",
    "catalog",
    "catalog_problem",
    "changed",
    "changed_methods",
    "check_zero",
    "cka",
    "class_logit",
    "configure",
    "conv_channel",
    "count_passes",
    "default_models",
    "depth_taps",
    "depths_of",
    "digest",
    "download",
    "draw",
    "explain",
    "explain_stream",
    "faithfulness",
    "faithfulness_stream",
    "features",
    "filled",
    "find_method",
    "find_spec",
    "fit_image",
    "grid_pointing",
    "head_channel",
    "heatmaps",
    "judged",
    "load",
    "logit_lens",
    "maximize",
    "maximize_several",
    "methods",
    "mlp_channel",
    "needs",
    "neighbors",
    "not_label",
    "on_pixels",
    "open_model",
    "own_models",
    "picture_files",
    "pointing_grid",
    "predict",
    "propose",
    "randomization",
    "rather_than",
    "read_image",
    "read_labels",
    "read_target",
    "read_untrusted_image",
    "read_untrusted_images",
    "receptive_field",
    "receptive_fields",
    "record",
    "record_stream",
    "removal_grid",
    "rendering",
    "representations",
    "robustness",
    "samples",
    "seam_energy_of",
    "search_labels",
    "shared_view",
    "size_text",
    "sweep",
    "token_norms",
    "usual_needs",
    "versions",
    "waiting",
    "watching",
    "what_if",
    "without",
]
