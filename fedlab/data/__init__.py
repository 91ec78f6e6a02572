"""Data sources: each reads, checks and splits one data set into arrays. Only `Emnist` imports TensorFlow."""

from fedlab.data.digits import Digits
from fedlab.data.emnist import Emnist
from fedlab.data.mnist import FashionMnist, Mnist, MnistByWriter
from fedlab.data.npz import Npz
from fedlab.data.source import Source

__all__ = ["Digits", "Emnist", "FashionMnist", "Mnist", "MnistByWriter", "Npz", "Source"]
