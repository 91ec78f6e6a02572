"""Data sources: each reads, checks and splits one data set into arrays. Only `Emnist` without a path imports TensorFlow."""

from fedlab.data.cifar import Cifar10, Cifar100
from fedlab.data.diabetes import Diabetes
from fedlab.data.digits import Digits
from fedlab.data.emnist import Emnist
from fedlab.data.femnist import Femnist
from fedlab.data.heart import Heart
from fedlab.data.hugging_face import HuggingFace
from fedlab.data.images import Images
from fedlab.data.mnist import FashionMnist, Mnist, MnistByWriter
from fedlab.data.npz import Npz
from fedlab.data.shakespeare import Shakespeare
from fedlab.data.source import Source
from fedlab.data.synthetic import Synthetic
from fedlab.data.table import Table
from fedlab.data.text import Text

__all__ = [
    "Cifar10",
    "Cifar100",
    "Diabetes",
    "Digits",
    "Emnist",
    "FashionMnist",
    "Femnist",
    "Heart",
    "HuggingFace",
    "Images",
    "Mnist",
    "MnistByWriter",
    "Npz",
    "Shakespeare",
    "Source",
    "Synthetic",
    "Table",
    "Text",
]
