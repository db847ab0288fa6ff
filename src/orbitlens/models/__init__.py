"""Networks to look into.

BaseModel          a record: network, layer, preparation of images
MLPAutoencoder     the two base models of the Shapes experiment
CNNAutoencoder
ViTAutoencoder     a small vision transformer that can replace them
GroupCNN           equivariant by construction, or broken by degrees: a known answer
LiftingConv2d      the layers of such networks: images to functions on the group
GroupConv2d        functions on the group to functions on the group
ProjectingConv2d   functions on the group to images
group_pool         functions on the group to their mean or maximum
LiftingLinear      vectors of a representation to functions on any finite group
GroupLinear        functions on it to functions on it
EGNN               the same on point clouds: a graph network under O(3) and permutations
train_autoencoder  trains an autoencoder on images that the group moves at random -> AutoencoderFit
resolve_model      "hf:NAME", "timm:NAME", "torchvision:NAME", "onnx:FILE", "recipe:NAME" or
                   "python:MODULE:FUNCTION" -> BaseModel
read_network       a network that a recipe or `orbitlens.save` has kept -> BaseModel
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
keeps_settings     let a class remember the arguments that a network was built with
save_network       write such a network to a new folder
load_network       read one from its folder
write_network      write a network and its record, which says how to build it
kept_folder        the folder of the kept network that a name stands for
kept_record        what its record says
inputs_file        the file of the inputs beside it
NETWORKS           the folder of a recipe's run with the networks that it keeps
INPUTS             the name of the file of inputs beside a kept network
call_python        what a function of the user returns, by its module or file
joined             maps of a torus with a margin that continues them
ShowsViews         the interface of modules that show a network several views of each input
network_of_views   the network that sees several views and holds a layer
"""

from typing import TYPE_CHECKING

from orbitlens._lazy import lazy_names

if TYPE_CHECKING:
    from orbitlens.models._from_python import call_python, find_user_files, user_files
    from orbitlens.models._kept import INPUTS, NETWORKS, inputs_file, kept_folder, kept_record
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
    from orbitlens.models._settings import keeps_settings
    from orbitlens.models._state import evaluating
    from orbitlens.models._torus import joined
    from orbitlens.models._train_autoencoder import AutoencoderFit, train_autoencoder
    from orbitlens.models._views import ShowsViews, network_of_views
    from orbitlens.models.autoencoders import CNNAutoencoder, MLPAutoencoder, ViTAutoencoder
    from orbitlens.models.base import BaseModel, Prepare, as_they_are
    from orbitlens.models.egnn import EGNN
    from orbitlens.models.group_cnn import GroupCNN
    from orbitlens.models.group_layers import (
        GroupConv2d,
        LiftingConv2d,
        ProjectingConv2d,
        group_pool,
    )
    from orbitlens.models.group_linears import GroupLinear, LiftingLinear
    from orbitlens.models.preparation import ImagePreparation
    from orbitlens.models.resolve import resolve_model
    from orbitlens.models.saved import load_network, read_network, save_network, write_network
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "ALL_LAYERS",
    "EGNN",
    "INPUTS",
    "NETWORKS",
    "AutoencoderFit",
    "BaseModel",
    "CNNAutoencoder",
    "GroupCNN",
    "GroupConv2d",
    "GroupLinear",
    "ImagePreparation",
    "LiftingConv2d",
    "LiftingLinear",
    "MLPAutoencoder",
    "Prepare",
    "ProjectingConv2d",
    "ShowsViews",
    "ViTAutoencoder",
    "as_they_are",
    "call_python",
    "check_channels",
    "check_model_file",
    "check_model_name",
    "check_network",
    "evaluating",
    "find_user_files",
    "get_layer",
    "group_pool",
    "inputs_file",
    "joined",
    "keeps_settings",
    "kept_folder",
    "kept_record",
    "layer_names",
    "load_network",
    "name_of_layer",
    "network_of_views",
    "normalisation",
    "read_network",
    "resolve_model",
    "save_network",
    "train_autoencoder",
    "user_files",
    "write_network",
]
