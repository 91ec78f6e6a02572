"""Federated algorithms, one file each: options, client step, server step, client state.

Configurations name the classes of this module; it imports no TensorFlow. Shared modules: `base` (the slots that algorithms fill),
`local` and `optimizers` (options), `client_work`, `composing` and `steps` (TFF's slots), `keeping` and `keeping_trainer` (client
state), `heads` (the layers that clients keep), `versions` (asynchronous training), `trainer` (a training in progress).
"""

from fedlab.algorithms.apfl import Apfl
from fedlab.algorithms.base import LARGEST_METRIC, Algorithm, KeepingProcess, Parts, Process, Setting
from fedlab.algorithms.ditto import Ditto
from fedlab.algorithms.fed_avg import FedAvg
from fedlab.algorithms.fed_bn import FedBn
from fedlab.algorithms.fed_buff import FedBuff
from fedlab.algorithms.fed_dyn import FedDyn
from fedlab.algorithms.fed_exp import FedExp
from fedlab.algorithms.fed_nova import FedNova
from fedlab.algorithms.fed_per import FedPer
from fedlab.algorithms.fed_prox import FedProx
from fedlab.algorithms.fed_rep import FedRep
from fedlab.algorithms.fed_sgd import FedSgd
from fedlab.algorithms.fine_tune import FineTune
from fedlab.algorithms.gan import Gan
from fedlab.algorithms.ifca import Ifca
from fedlab.algorithms.local import DpSgd, LocalTraining
from fedlab.algorithms.local_only import LocalOnly
from fedlab.algorithms.mime_lite import MimeLite
from fedlab.algorithms.p_fed_me import PFedMe
from fedlab.algorithms.q_fed_avg import QFedAvg
from fedlab.algorithms.scaffold import Scaffold
from fedlab.algorithms.split import Split
from fedlab.algorithms.tff_process import TffProcess

__all__ = [
    "LARGEST_METRIC",
    "Algorithm",
    "Apfl",
    "Ditto",
    "DpSgd",
    "FedAvg",
    "FedBn",
    "FedBuff",
    "FedDyn",
    "FedExp",
    "FedNova",
    "FedPer",
    "FedProx",
    "FedRep",
    "FedSgd",
    "FineTune",
    "Gan",
    "Ifca",
    "KeepingProcess",
    "LocalOnly",
    "LocalTraining",
    "PFedMe",
    "MimeLite",
    "Parts",
    "Process",
    "QFedAvg",
    "Scaffold",
    "Setting",
    "Split",
    "TffProcess",
]
