"""Errors that a user can act on.

::

    ParallaxError
    ├── ImageError         the picture cannot be read or cannot be fitted to the model
    │   └── ImageTimeout       it was not read in time, perhaps on a busy machine; try again
    ├── ModelError         the model is not available
    │   ├── UnknownModel       no such entry in the catalog
    │   ├── CatalogError       a model file (TOML) with missing or invalid keys
    │   ├── UnsupportedModel   an architecture whose internals cannot be shown correctly
    │   └── WeightsError       no network, wrong checksum, wrong shapes, missing file
    ├── MethodError        the method cannot handle this request
    │   ├── UnknownMethod      no such method
    │   ├── UnsupportedMethod  the model lacks what the method needs (classes, a class token, …)
    │   ├── ParameterError     a parameter out of its range, an unknown parameter or class
    │   ├── NoZero             positive parts of a map without a meaningful zero cannot be summed
    │   └── ZeroGradient       the chosen layer cannot influence the chosen class
    ├── SweepError         a sweep that cannot be started, continued or opened
    ├── BusyError          too many concurrent passes; try again (base of `ImageTimeout`)
    └── Stopped            the user stopped the computation

Every message states what was given, what was expected and what to do next, in one sentence
that can be shown to the user as it is.
"""

from __future__ import annotations


class ParallaxError(Exception):
    """Base of all errors that a user can act on."""


class ImageError(ParallaxError):
    """The picture cannot be read, or not be fitted to the model."""


class ModelError(ParallaxError):
    """The model is not available."""


class UnknownModel(ModelError):
    """The catalog has no model of this id."""


class CatalogError(ModelError):
    """A catalog file is invalid."""


class UnsupportedModel(ModelError):
    """The architecture has a part that cannot be shown correctly.

    Attributes
    ----------
    reason
        That part, as a fragment of a sentence; empty if it is not known.
    """

    def __init__(self, message: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class WeightsError(ModelError):
    """The weights are not available, or do not have the stated checksum."""


class MethodError(ParallaxError):
    """The method cannot handle this request."""


class UnknownMethod(MethodError):
    """There is no method of this name."""


class UnsupportedMethod(MethodError):
    """The model lacks what the method needs."""


class ParameterError(MethodError):
    """A parameter is unknown or out of its range."""


class NoZero(MethodError):
    """The map's zero has no meaning, so its positive parts cannot be summed."""


class ZeroGradient(MethodError):
    """The chosen layer cannot influence the chosen class, so its map would be blank."""


class SweepError(ParallaxError):
    """A sweep cannot be started, continued or opened."""


class BusyError(ParallaxError):
    """All slots for network passes were in use for too long."""


class ImageTimeout(ImageError, BusyError):
    """The picture was not read in time, whatever its content; try again."""


class Stopped(ParallaxError):
    """The user stopped the computation."""
