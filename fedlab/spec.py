"""`Spec`: the base of every class that a configuration node can name in `_target_`.

A spec is a frozen record of options. It validates itself at construction and imports no TensorFlow, so that a mistake in a
configuration is found in a fraction of a second. It builds its object (a partition, a model, a process) when it is called.
"""

from __future__ import annotations

import functools
import inspect
import os
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from fedlab.errors import FedlabError

# privacy: ε may be claimed, because the class does what the account assumes. same bits: equal seeds give equal bits. keyed noise:
# an engine draws the noise of graphs from the keys that it receives, and not from a generator of its own
Promise = Literal["privacy", "same bits", "keyed noise"]


def is_of_fedlab(path: str) -> bool:
    """Returns True if a dotted path leads into this package."""
    return path.partition(".")[0] == "fedlab"


class Spec(BaseModel):
    """The options of one stage. Unknown names, wrong types and values out of range raise `pydantic.ValidationError`."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=(), allow_inf_nan=False
    )
    reaches_out: ClassVar[tuple[str, ...]] = ()  # options that name code to import or a server to write to
    needs_classes: ClassVar[bool] = False  # True if the stage requires data whose targets are classes
    locations: ClassVar[tuple[str, ...]] = ()  # options that name a file or a folder
    # The types that methods and properties return: method → dotted names. A subclass that returns another type gets an error
    makes: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    vouches: ClassVar[tuple[Promise, ...]] = ()  # the promises that this very class keeps; a subclass states its own

    @classmethod
    def recorded_location(cls, option: str, value: Any) -> Any:
        """Returns the value that a run records for `option`, one of `locations`, so that it is valid in any folder."""
        return absolute(value)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        for name, kinds in cls.makes.items():
            own = vars(cls).get(name)
            if isinstance(own, property) and own.fget and not own.__isabstractmethod__:
                setattr(cls, name, property(_checking(own.fget, name, kinds), own.fset, own.fdel))
            elif inspect.isfunction(own) and not getattr(own, "__isabstractmethod__", False):
                setattr(cls, name, _checking(own, name, kinds))

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Turns true and false into text if an option is not boolean: Python treats true as 1, so num_rounds=true would be 1."""
        return value if _may_be_true(cls.model_fields[str(info.field_name)].annotation) else _spelt(value)


def _checking(method: Callable[..., Any], name: str, kinds: tuple[str, ...]) -> Callable[..., Any]:
    """Wraps `method` so that it raises `FedlabError` if its result has none of these types."""

    @functools.wraps(method)
    def checked(self: Spec, *args: Any, **options: Any) -> Any:
        value = method(self, *args, **options)
        if not isinstance(value, tuple(map(_located, kinds))):
            allowed = " or ".join(kind.rpartition(".")[2] for kind in kinds)
            raise FedlabError(f"{type(self).__name__}.{name} returned {shown(value)}; it must return a {allowed}.")
        return value

    return checked


def _located(kind: str) -> type:
    """Returns the type of a dotted name, imported now: a spec that is only configured imports no TensorFlow."""
    found: type = pkgutil.resolve_name(kind)
    return found


def shown(value: Any) -> str:
    """Returns a value's text for an error: None as itself, other values by their type."""
    return "None" if value is None else f"a {type(value).__name__}"


def _may_be_true(annotation: Any) -> bool:
    """Returns True if a field of this type may be a boolean, or contain one."""
    return annotation in (bool, Any) or isinstance(annotation, bool) or any(map(_may_be_true, get_args(annotation)))


def _spelt(value: Any) -> Any:
    if type(value) in (list, tuple):
        return [_spelt(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def absolute(location: Any) -> Any:
    """Returns a file or a folder, or each item of a list of them, as an absolute path; other values unchanged."""
    if isinstance(location, (list, tuple)):
        return [absolute(item) for item in location]
    return os.path.abspath(os.path.expanduser(location)) if isinstance(location, str) else location


def states(spec: object, name: str) -> bool:
    """Returns True if the exact class of `spec` defines `name` itself.

    Promises are not inherited: a subclass may have changed what a promise of its base class relies on. So the subclass states the
    promise again (`sampling = Uniform.sampling`, `vouches = ("privacy",)`), or it makes none.
    """
    return name in vars(type(spec))


def vouches(spec: Spec, promise: Promise) -> bool:
    """Returns True if the exact class of `spec`, not a base class, states that it keeps `promise`."""
    return states(spec, "vouches") and promise in type(spec).vouches
