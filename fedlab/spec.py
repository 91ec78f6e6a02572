"""`Spec`: the base of everything a configuration node can name in `_target_`.

A spec is a frozen record of options that validates itself at construction and imports no TensorFlow, so that a mistake in
a configuration is found in a fraction of a second. What it builds (a partition, a model, a process) it builds when called.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Options of one stage. Unknown names, wrong types and values out of range raise `pydantic.ValidationError`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
    )
