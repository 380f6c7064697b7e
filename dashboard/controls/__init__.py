"""Widgets tied to the fields of the screen: each shows what is chosen and writes what is picked."""

from dashboard.controls.classes import (
    automatic_classes,
    class_picker,
    classes_picker,
    index_of,
    top_classes,
)
from dashboard.controls.displays import (
    Display,
    display,
)
from dashboard.controls.fields import (
    number,
    segments,
    select,
    slider,
    toggle,
)
from dashboard.controls.methods import (
    Choice,
    choice_widgets,
    listed_parameters,
    method_choice,
    method_picker,
    parameter_widgets,
    parameters,
)
from dashboard.controls.taps import (
    PARTS,
    block_picker,
    channel_picker,
    stage_picker,
    stage_title,
)

__all__ = [
    "Choice",
    "Display",
    "PARTS",
    "automatic_classes",
    "block_picker",
    "channel_picker",
    "choice_widgets",
    "class_picker",
    "classes_picker",
    "display",
    "index_of",
    "listed_parameters",
    "method_choice",
    "method_picker",
    "number",
    "parameter_widgets",
    "parameters",
    "segments",
    "select",
    "slider",
    "stage_picker",
    "stage_title",
    "toggle",
    "top_classes",
]
