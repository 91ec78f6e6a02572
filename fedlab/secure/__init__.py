"""Secure sums: per-client vectors in, their sum out, with a record of what the server saw and of how many bytes moved.

`Plain`, `Masked` and `Ckks` are specs; `build(layout, most_clients, …)` gives a `Protocol`, whose `run_round` gives an `Outcome`.
Arrays are numpy's; nothing here knows of TensorFlow, of models or of rounds of training.
"""

from fedlab.secure.ckks import Ckks
from fedlab.secure.he_cost import HeCost, he_cost
from fedlab.secure.layout import ContributionError, Layout, Tensor
from fedlab.secure.mask_cost import MaskCost, mask_cost
from fedlab.secure.masked import Masked
from fedlab.secure.masked_server import BelowThreshold
from fedlab.secure.plain import Plain
from fedlab.secure.protocol import Dropouts, Outcome, Protocol, SecureSum
from fedlab.secure.transcript import Phase
from fedlab.secure.view import ServerView

__all__ = [
    "SecureSum",
    "Plain",
    "Masked",
    "Ckks",
    "Layout",
    "Tensor",
    "Protocol",
    "Dropouts",
    "Outcome",
    "Phase",
    "ServerView",
    "BelowThreshold",
    "ContributionError",
    "HeCost",
    "he_cost",
    "MaskCost",
    "mask_cost",
]
