"""Data sources: each reads, checks and splits one data set into arrays. Only `Emnist` without a path imports TensorFlow."""

from fedlab.data.digits import Digits
from fedlab.data.emnist import Emnist
from fedlab.data.femnist import Femnist
from fedlab.data.mnist import FashionMnist, Mnist, MnistByWriter
from fedlab.data.npz import Npz
from fedlab.data.source import Source

__all__ = ["Digits", "Emnist", "FashionMnist", "Femnist", "Mnist", "MnistByWriter", "Npz", "Source"]
