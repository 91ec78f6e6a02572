"""Loads Keras files. This is the only module that does: a file of data only is loaded, a file that can contain code needs trust
(`fedlab.models.keras_file`)."""

from __future__ import annotations

import pathlib

import tensorflow as tf

import fedlab.models.adversarial  # noqa: F401  (registers fedlab's own layer)
from fedlab import trust
from fedlab.errors import FedlabError, one_line
from fedlab.models.keras_file import findings, require_trust


def load_keras(path: pathlib.Path, remedy: str = "") -> tf.keras.Model:
    """Loads the model in a Keras file, not compiled.

    Raises `NotTrusted` if the file can contain code and the user has not agreed to run it, and `FedlabError`, which ends with
    `remedy`, for a file that Keras cannot read.
    """
    can_run_code = require_trust(path)
    try:
        model = tf.keras.models.load_model(path, compile=False, safe_mode=not can_run_code)
        if not isinstance(model, tf.keras.Model):
            raise TypeError(f"the file holds a {type(model).__name__}")
    except Exception as error:  # Keras raises many types of errors
        what = f"{path} is no Keras model that can be read: {type(error).__name__}: {one_line(error)}"
        raise FedlabError(f"{what}. {remedy}" if remedy else what) from error
    return model


def load_own(path: pathlib.Path) -> tf.keras.Model:
    """Loads the model in a Keras file that this process itself has just written, not compiled. Raises Keras' errors."""
    return tf.keras.models.load_model(path, compile=False, safe_mode=False)


def agree(path: pathlib.Path) -> None:
    """Records that this process itself has written `path`."""
    trust.agree([f"{path}: {finding}" for finding in findings(path)])
