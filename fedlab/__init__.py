"""fedlab: federated-learning experiments from the command line, on TensorFlow Federated.

Data flows one way, and the folders are its stages:
``data → partition → cohort → models → process (aggregation) → engine → run → evaluation → report``.
Importing `fedlab` imports neither TensorFlow nor Hydra.
"""

__version__ = "0.1.0"
