"""Networks to look into.

BaseModel          a record: network, layer, preparation of images
MLPAutoencoder     the two base models of the Shapes experiment
CNNAutoencoder
ViTAutoencoder     a small vision transformer that can replace them
GroupCNN           equivariant by construction, or broken by degrees: a known answer
train_autoencoder  trains an autoencoder on images that the group moves at random -> AutoencoderFit
resolve_model      "hf:NAME", "timm:NAME", "torchvision:NAME", "onnx:FILE" or
                   "python:MODULE:FUNCTION" -> BaseModel
layer_names        the names of a network's layers
Prepare            the type of functions that prepare images for a network
normalisation      mean and deviation by name, such as "half"
ImagePreparation   size, channels and normalisation of images, as such a function

For the other rooms:

get_layer          the layer with a name
name_of_layer      the name of a layer that is given as such or by its name
check_network      refuse what is no network, or cannot be looked into
evaluating         evaluation mode without gradients, for the length of a block
ALL_LAYERS         the name that stands for every layer
check_model_file   refuse the name of a network whose file is not there
check_model_name   refuse the name of a network that has another form
check_channels     refuse images that have other channels than a network takes
as_they_are        the preparation that returns images unchanged
user_files         the files of python: networks that were imported, by the names of their modules
find_user_files    let another process import them
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.models._from_python import find_user_files, user_files
    from orbitlens.models._layers import (
        ALL_LAYERS,
        check_network,
        get_layer,
        layer_names,
        name_of_layer,
    )
    from orbitlens.models._names import check_model_file, check_model_name
    from orbitlens.models._normalisation import normalisation
    from orbitlens.models._pretrained import check_channels
    from orbitlens.models._state import evaluating
    from orbitlens.models._train_autoencoder import AutoencoderFit, train_autoencoder
    from orbitlens.models.autoencoders import CNNAutoencoder, MLPAutoencoder, ViTAutoencoder
    from orbitlens.models.base import BaseModel, Prepare, as_they_are
    from orbitlens.models.group_cnn import GroupCNN
    from orbitlens.models.preparation import ImagePreparation
    from orbitlens.models.resolve import resolve_model
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "ALL_LAYERS",
    "AutoencoderFit",
    "BaseModel",
    "CNNAutoencoder",
    "GroupCNN",
    "ImagePreparation",
    "MLPAutoencoder",
    "Prepare",
    "ViTAutoencoder",
    "as_they_are",
    "check_channels",
    "check_model_file",
    "check_model_name",
    "check_network",
    "evaluating",
    "find_user_files",
    "get_layer",
    "layer_names",
    "name_of_layer",
    "normalisation",
    "resolve_model",
    "train_autoencoder",
    "user_files",
]
