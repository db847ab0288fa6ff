"""What the checks share: the activations of a store, read without OrbitLens, and a comparison."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import zarr
from PIL import Image

EVERY = 25  # of the inputs of a store


def stored(run):
    """Return the number of inputs, some of them (index, file), and the activations of a run."""
    store = zarr.open(Path(run) / "acts.zarr", mode="r")
    files = json.loads(bytes(store["files"][:]).decode())
    return list(enumerate(files))[::EVERY], store["activations"][:]


def square(file, side, fill):
    """Return the picture [side, side, 3] in [0, 1]: its centre, or all of it on black."""
    image = Image.open(file).convert("RGB")
    length = max(image.size) if fill else min(image.size)
    left, top = (image.width - length) // 2, (image.height - length) // 2
    image = image.crop((left, top, left + length, top + length))
    return np.asarray(image.resize((side, side), Image.BICUBIC), np.float32) / 255


def onnx_layer(file, node):
    """Return the function from one input [channels, height, width] to the output of a node."""
    graph = onnx.load(file)
    output = next(each.output[0] for each in graph.graph.node if each.name == node)
    graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(output))
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    name = session.get_inputs()[0].name
    return lambda x: session.run([output], {name: np.ascontiguousarray(x[None], np.float32)})[0][0]


def report(words, found, wanted):
    """Print how far two arrays of activations are apart."""
    found, wanted = np.stack(found), np.stack(wanted)
    largest = np.abs(found - wanted).max() / np.abs(wanted).max()
    rms = np.sqrt(np.square(found - wanted).mean() / np.square(wanted - wanted.mean((0, 1))).mean())
    print(
        f"{words}: {found.shape[0]} pictures x {found.shape[1]} turns, largest difference "
        f"{largest:.1e} of the largest activation, root mean square {rms:.1e} of the spread"
    )
