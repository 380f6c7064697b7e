"""Everything that can go wrong for a reason the person in front of the screen can act on.

::

    ParallaxError
    ├── ImageError         the picture cannot be read or cannot be fitted to the model
    │   └── ImageTimeout       it was not read in time, perhaps as the machine is busy; try again
    ├── ModelError         the model cannot be had
    │   ├── UnknownModel       no such entry in the catalog
    │   ├── CatalogError       a model file (TOML) that does not say what it must
    │   ├── UnsupportedModel   an architecture whose inside cannot be shown truthfully
    │   └── WeightsError       no network, wrong checksum, wrong shapes, missing file
    ├── MethodError        the method cannot serve this request
    │   ├── UnknownMethod      no such method
    │   ├── UnsupportedMethod  the model lacks what the method needs (classes, a class token, …)
    │   ├── ParameterError     a parameter out of its range, an unknown parameter or class
    │   ├── NoZero             positive parts of a map whose zero means nothing were to be summed
    │   └── ZeroGradient       the chosen layer cannot influence the chosen class
    ├── SweepError         a sweep that cannot be begun, gone on with or opened
    ├── BusyError          too many passes at once; try again (`ImageTimeout` is one as well)
    └── Stopped            the person stopped what was running

Every message names what was given, what was expected and what to do next, in one sentence
that may be shown to the person as it is.
"""

from __future__ import annotations


class ParallaxError(Exception):
    """Root of the tree: anything a person can act on."""


class ImageError(ParallaxError):
    """The picture cannot be read, or not be fitted to the model."""


class ModelError(ParallaxError):
    """The model cannot be had."""


class UnknownModel(ModelError):
    """The catalog has no model of this id."""


class CatalogError(ModelError):
    """A catalog file is not what it must be."""


class UnsupportedModel(ModelError):
    """The architecture has something that cannot be shown truthfully.

    Attributes
    ----------
    reason
        What that is, as the part of a sentence; empty if it is not known.
    """

    def __init__(self, message: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(ModelError):
    """The weights cannot be had, or are not the ones that were promised."""


class MethodError(ParallaxError):
    """The method cannot serve this request."""


class UnknownMethod(MethodError):
    """There is no method of this name."""


class UnsupportedMethod(MethodError):
    """The model lacks what the method needs."""


class ParameterError(MethodError):
    """A parameter is unknown or out of its range."""


class NoZero(MethodError):
    """The map's zero means nothing, so its positive parts cannot be summed."""


class ZeroGradient(MethodError):
    """The chosen layer cannot influence the chosen class, so its map would be blank."""


class SweepError(ParallaxError):
    """A sweep cannot be begun, gone on with or opened."""


class BusyError(ParallaxError):
    """All places for network passes stayed taken for too long."""


class ImageTimeout(ImageError, BusyError):
    """The picture was not read in time, which says nothing about the picture; try again."""


class Stopped(ParallaxError):
    """The person stopped what was running."""
