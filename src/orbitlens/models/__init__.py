"""Networks to look into.

BaseModel          a record: network, layer, preparation of images
MLPAutoencoder     the two base models of the Shapes experiment
CNNAutoencoder
ViTAutoencoder     a small vision transformer that can replace them
GroupCNN           equivariant by construction, or broken by degrees: a known answer
train_autoencoder  trains an autoencoder on images that the group moves at random -> AutoencoderFit
resolve_model      "hf:NAME", "timm:NAME", "torchvision:NAME", "python:MODULE:FUNCTION" -> BaseModel
layer_names        the names of a network's layers
Prepare            the type of functions that prepare images for a network

For the other rooms:

get_layer          the layer with a name
name_of_layer      the name of a layer that is given as such or by its name
check_network      refuse what is no network, or cannot be looked into
evaluating         evaluation mode without gradients, for the length of a block
ALL_LAYERS         the name that stands for every layer
as_they_are        the preparation that returns images unchanged
"""

from orbitlens.models._layers import (
    ALL_LAYERS,
    check_network,
    get_layer,
    layer_names,
    name_of_layer,
)
from orbitlens.models._state import evaluating
from orbitlens.models.autoencoders import CNNAutoencoder, MLPAutoencoder, ViTAutoencoder
from orbitlens.models.base import BaseModel, Prepare, as_they_are
from orbitlens.models.group_cnn import GroupCNN
from orbitlens.models.resolve import resolve_model
from orbitlens.models.train_autoencoder import AutoencoderFit, train_autoencoder

__all__ = [
    "ALL_LAYERS",
    "AutoencoderFit",
    "BaseModel",
    "CNNAutoencoder",
    "GroupCNN",
    "MLPAutoencoder",
    "Prepare",
    "ViTAutoencoder",
    "as_they_are",
    "check_network",
    "evaluating",
    "get_layer",
    "layer_names",
    "name_of_layer",
    "resolve_model",
    "train_autoencoder",
]
