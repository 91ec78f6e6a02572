"""`Spec`: the base of everything a configuration node can name in `_target_`.

A spec is a frozen record of options that validates itself at construction and imports no TensorFlow, so that a mistake in
a configuration is found in a fraction of a second. What it builds (a partition, a model, a process) it builds when called.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

# privacy: ε may be claimed, since the class does what the account assumes of its stage. same bits: equal seeds give equal bits.
Promise = Literal["privacy", "same bits"]


class Spec(BaseModel):
    """Options of one stage. Unknown names, wrong types and values out of range raise `pydantic.ValidationError`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
    )
    reaches_out: ClassVar[tuple[str, ...]] = ()  # options that name code to import or a server to write to
    vouches: ClassVar[tuple[Promise, ...]] = ()  # the promises that this very class keeps; a subclass states its own

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Makes true and false words where an option is neither: Python takes true for 1, and so would num_rounds=true."""
        return value if _may_be_true(cls.model_fields[str(info.field_name)].annotation) else _spelt(value)


def _may_be_true(annotation: Any) -> bool:
    """Returns whether a field of this type may be true or false, or hold one of them."""
    return annotation in (bool, Any) or isinstance(annotation, bool) or any(map(_may_be_true, get_args(annotation)))


def _spelt(value: Any) -> Any:
    if type(value) in (list, tuple):
        return [_spelt(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def states(spec: object, name: str) -> bool:
    """Returns whether the exact class of `spec` defines `name` itself.

    Promises are not inherited: a subclass may have changed what a promise of its base class rests on. So the subclass states the
    promise again (`sampling = Uniform.sampling`, `vouches = ("privacy",)`), or it makes none.
    """
    return name in vars(type(spec))


def vouches(spec: Spec, promise: Promise) -> bool:
    """Returns whether the exact class of `spec`, not a base class, states that it keeps `promise`."""
    return states(spec, "vouches") and promise in type(spec).vouches
