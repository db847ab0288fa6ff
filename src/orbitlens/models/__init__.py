"""Networks to look into.

BaseModel          the record: network, layer, preparation of images
MLPAutoencoder     the two base models of the Shapes experiment
CNNAutoencoder
ViTAutoencoder     a small vision transformer in their place
GroupCNN           equivariant by construction, or broken by degrees: a known answer
train_autoencoder  trains them on images that the group moves at random -> AutoencoderFit
resolve_model      "hf:NAME", "timm:NAME", "torchvision:NAME", "python:MODULE:FUNCTION" -> BaseModel
layer_names        the layers a network has
"""

from orbitlens.models.autoencoders import CNNAutoencoder, MLPAutoencoder
from orbitlens.models.base import BaseModel
from orbitlens.models.group_cnn import GroupCNN
from orbitlens.models.layers import layer_names
from orbitlens.models.resolve import resolve_model
from orbitlens.models.train_autoencoder import AutoencoderFit, train_autoencoder
from orbitlens.models.vit_autoencoder import ViTAutoencoder

__all__ = [
    "AutoencoderFit",
    "BaseModel",
    "CNNAutoencoder",
    "GroupCNN",
    "MLPAutoencoder",
    "ViTAutoencoder",
    "layer_names",
    "resolve_model",
    "train_autoencoder",
]
