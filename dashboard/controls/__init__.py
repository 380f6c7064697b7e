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
    FIRST,
    Choice,
    Slot,
    choice_widgets,
    column_slots,
    look_values,
    method_choice,
    method_picker,
    needs_of,
    parameter_widgets,
    parameters,
    row_slot,
    told_apart,
)
from dashboard.controls.taps import (
    PARTS,
    Feature,
    channel_picker,
    feature_of,
    stage_title,
    tap_picker,
)

__all__ = [
    "Choice",
    "Display",
    "FIRST",
    "Feature",
    "PARTS",
    "Slot",
    "automatic_classes",
    "channel_picker",
    "choice_widgets",
    "class_picker",
    "classes_picker",
    "column_slots",
    "display",
    "feature_of",
    "index_of",
    "look_values",
    "method_choice",
    "method_picker",
    "needs_of",
    "number",
    "parameter_widgets",
    "parameters",
    "row_slot",
    "segments",
    "select",
    "slider",
    "stage_title",
    "tap_picker",
    "toggle",
    "told_apart",
    "top_classes",
]
