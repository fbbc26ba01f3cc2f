"""The networks of the paper, and which weights of any network are hidden, which are its output.

Every constructor takes the generator that draws its initial weights; the global random state is never used.
"""

from __future__ import annotations

from heavytail.networks.paper import NETWORKS, Mean, MeanField, build, check, fcn, vgg
from heavytail.networks.residual import resnet
from heavytail.networks.roles import hidden_weights, output_weights

__all__ = [
    "NETWORKS",
    "Mean",
    "MeanField",
    "build",
    "check",
    "fcn",
    "hidden_weights",
    "output_weights",
    "resnet",
    "vgg",
]
