"""The third net of MTCNN, with the weights and the input that facenet-pytorch gives it."""

from facenet_pytorch import ONet

import orbitlens as ol


def network():
    """Return the net and its preparation: 48 x 48 pixels, (x - 127.5) / 128 of 0 to 255."""
    preparation = ol.models.ImagePreparation(
        size=(48, 48), channels=3, mean=(127.5 / 255,), std=(128 / 255,)
    )
    return ONet(), preparation
