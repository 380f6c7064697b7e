"""Widgets tied to the fields of the screen."""

from dashboard.controls.classes import (
    class_picker,
    classes_picker,
    rather_than_picker,
    top_classes,
)
from dashboard.controls.displays import display
from dashboard.controls.fields import (
    number,
    segments,
    select,
    slider,
    toggle,
)
from dashboard.controls.methods import method_picker, parameter_widgets
from dashboard.controls.taps import channel_picker, choose_feature, tap_picker

__all__ = [
    "channel_picker",
    "choose_feature",
    "class_picker",
    "classes_picker",
    "display",
    "method_picker",
    "number",
    "parameter_widgets",
    "rather_than_picker",
    "segments",
    "select",
    "slider",
    "tap_picker",
    "toggle",
    "top_classes",
]
