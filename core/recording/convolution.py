"""Recordings of convolutional networks."""

from __future__ import annotations

from torch import Tensor

from core.models.convnet import ConvNet
from core.recording.recording import Recording


class ConvolutionRecording(Recording):
    """A recording of a `ConvNet`."""

    model: ConvNet

    def activations(self, tap: str) -> Tensor:
        """Output of a stage, or input of the pooling: (batch, channels, rows, columns)."""
        return self.on_grid(tap)
