"""Finds the parts of a Keras file that can run code. Imports no TensorFlow.

Keras' own safe mode is no protection: it does not check HDF5 files and layers nested in the old format, it imports any module
that a file names, and it unpickles weights in npz. So, before Keras loads a file, its description is compared with lists of
layers and functions that are known to compute only.
"""

from __future__ import annotations

import io
import json
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import h5py

from fedlab import trust
from fedlab.errors import FedlabError, one_line

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MEMBERS = {_CONFIG, _WEIGHTS, "metadata.json"}

_MODELS = "Functional Model Sequential"
_LAYERS = """
    Activation ActivityRegularization Add AdditiveAttention AlphaDropout Attention Average AveragePooling1D AveragePooling2D
    AveragePooling3D BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
    Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense
    DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout
    GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D
    GlobalMaxPooling3D GroupNormalization InputLayer LSTM LSTMCell LayerNormalization LeakyReLU LocallyConnected1D
    LocallyConnected2D Masking MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization
    PReLU Permute RNN RandomBrightness RandomContrast RandomCrop RandomFlip RandomHeight RandomRotation RandomTranslation
    RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell
    Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D StackedRNNCells Subtract ThresholdedReLU TimeDistributed
    UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal RandomNormal
    RandomUniform TruncatedNormal VarianceScaling Zeros
"""
_OTHERS = "L1 L1L2 L2 OrthogonalRegularizer MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm Policy"
_VALUES = "__tensor__ __numpy__ __bytes__ __ellipsis__ __tuple__"
_KNOWN = frozenset(f"{_MODELS} {_LAYERS} {_INITIALIZERS} {_OTHERS} {_VALUES}".split())
_ACTIVATIONS = """
    elu exponential gelu hard_sigmoid leaky_relu linear mish relu relu6 selu sigmoid silu softmax softplus softsign swish tanh
"""
_FUNCTIONS = frozenset(_ACTIVATIONS.split())
_OPS = {"SlicingOpLambda", "TFOpLambda"}  # a layer that calls one of TensorFlow's ops, some of which read and write files
_SHAPING = """
    abs argmax broadcast_to cast clip_by_value concat einsum expand_dims gather identity maximum minimum ones_like pad pow repeat
    reshape reverse shape slice split sqrt square squeeze stack tensordot tile transpose unstack where zeros_like
"""
_KNOWN_OPS = frozenset(_SHAPING.split())
_KNOWN_OP_MODULES = ("__operators__.", "math.", "nn.", "linalg.")  # only arithmetic
_OWN = ("fedlab.models.adversarial", "BatchStatistics", "fedlab>BatchStatistics")


def require_trust(path: pathlib.Path) -> bool:
    """Returns True if the user agrees to run code that a model file can contain, False if it is a file of data only.

    Raises `NotTrusted` if the user has not agreed, and `FedlabError` for a file that cannot be read.
    """
    found = [] if trust.everything_is_trusted() else findings(path)
    trust.require(str(path), [f"{path}: {finding}" for finding in found])
    return bool(found) or trust.everything_is_trusted()


def findings(path: pathlib.Path) -> list[str]:
    """Returns the parts of a model file that can run code, [] for a file of data only. Raises `FedlabError` if unreadable."""
    if path.is_dir():
        return ["a SavedModel"]
    if not zipfile.is_zipfile(path) or path.suffix != ".keras":
        if not path.is_file():
            raise FedlabError(f"there is no model {path}: a run writes it when it has finished.")
        return ["it is no .keras archive, and Keras runs code in other formats"]
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            strange = sorted(set(names) - _MEMBERS) or sorted({name for name in names if names.count(name) > 1})
            if strange:
                return [f"the archive contains {', '.join(map(repr, strange))}"]
            config = json.loads(archive.read(_CONFIG))
            if isinstance(config, dict):
                config.pop("compile_config", None)  # Keras ignores it if a model is not compiled
            return [*dict.fromkeys(_in_config(config)), *_in_weights(archive.read(_WEIGHTS))]
    except Exception as error:  # of zip, of each compression, of JSON, of HDF5
        raise FedlabError(f"{path} is damaged: {type(error).__name__}: {one_line(error)}") from error


def _in_config(node: Any) -> Iterator[str]:
    """Yields the objects in a model's description, at any depth, that are not known to compute only."""
    if isinstance(node, list):
        for item in node:
            yield from _in_config(item)
    if not isinstance(node, dict):
        return
    if "class_name" in node or "spec_name" in node:
        finding = _of_object(node)
        if finding:
            yield finding
    for value in node.values():
        yield from _in_config(value)


def _of_object(node: dict[str, Any]) -> str | None:
    name, module, registered = (node.get(key) for key in ("class_name", "module", "registered_name"))
    config = node.get("config")
    called = f"{module}.{name}" if module else f"{name}"
    if "spec_name" in node or not isinstance(name, str) or not isinstance(module, (str, type(None))):
        return called
    if (module, name, registered) == _OWN:
        return None
    of_keras = module is None or module == "keras" or module.startswith("keras.")
    if name == "function":
        return None if module in ("builtins", "keras.activations") and config in _FUNCTIONS else f"the function {module}.{config}"
    if not of_keras and not (module == "builtins" and name in _VALUES.split()):
        return called
    if registered not in (None, name):
        return f"{called}, registered as {registered}"
    if name in _OPS:
        op = config.get("function") if isinstance(config, dict) else None
        known = isinstance(op, str) and (op in _KNOWN_OPS or op.startswith(_KNOWN_OP_MODULES))
        return None if known else f"the op {op}"
    return None if name in _KNOWN else called


def _in_weights(content: bytes) -> list[str]:
    """Returns the parts of the file of weights that read other files."""
    found: list[str] = []

    def look(group: h5py.Group) -> None:
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                found.append(f"the weights link elsewhere at {name!r}")
                continue
            item = group[name]
            if isinstance(item, h5py.Group):
                look(item)
            elif isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
                found.append(f"the weights read another file at {name!r}")

    with h5py.File(io.BytesIO(content), "r") as file:
        look(file)
    return found
