"""Explains mistakes of a configuration in one line: the given value, the allowed values, the remedy."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, get_origin

import yaml

from fedlab import registry
from fedlab.errors import asked, did_you_mean, named_alike, one_line, suggestions

if TYPE_CHECKING:
    import pydantic

# Groups that a run does not have by default and whose choices are in folders (experiment=mnist/fedavg_iid)
ADDED_GROUPS = ("experiment",)


def composition_error(error: BaseException, overrides: Sequence[str], catalogue: Catalogue) -> str:
    """Explains an error of Hydra or OmegaConf from composing."""
    from hydra.errors import MissingConfigException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return no_such_choice(str(error.missing_cfg_file), list(error.options or []), catalogue)
    if isinstance(error, yaml.YAMLError):
        return not_yaml(error)
    text = str(error)
    ambiguous = re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", text)
    if ambiguous:
        key, value = ambiguous.groups()
        return f"{key}={value} has a comma: add -m for a sweep over these values, or write {key}=[{value}] for a list."
    given = re.search(r"Could not (?:override|delete|append)(?: to config. An item is already at)? '([^'=]+)", text)
    if given:
        return _cannot_override(given.group(1), "append" in given.group(0), overrides, catalogue)
    missing = re.search(r"Missing mandatory value: \S+\s+full_key: (\S+)", text)
    if missing:
        return f"{missing.group(1)} must be given: set {missing.group(1)}=VALUE."
    if "Config group override must be a string" in text:
        group, value = next((g, v) for g, _, v in (o.partition("=") for o in overrides) if g in catalogue.groups())
        return no_such_choice(f"{group}/{value}", [], catalogue)
    twice = re.search(r"Multiple values for (\S+)\. To override", text)
    if twice:
        return f"{twice.group(1)} has a default choice: change it without the plus, {twice.group(1)}=NAME."
    if "missing EQUAL" in text:
        word = re.search(r"parsing override '(.*?)'", text)
        return f"'{word.group(1) if word else ''}' is neither a flag nor key=value. See fedlab train --help."
    override = getattr(error, "override", None)
    if override:  # Hydra's grammar does not accept it
        key, _, value = override.partition("=")
        return f"{override}: {text.splitlines()[0].strip()}. Put a value with special characters in quotes: '{key}=\"{value}\"'."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__


def not_yaml(error: Exception, path: object = "") -> str:
    """Explains why the YAML parser refuses a file. `path`: the file, if the error does not contain it."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return f"{path or 'a configuration file'} cannot be read: {one_line(error)}."
    where = path or mark.name
    return f"{where}, line {mark.line + 1}, is not YAML: {problem or one_line(error)}."


def no_such_choice(missing: str, offered: list[str], catalogue: Catalogue) -> str:
    """Explains a choice GROUP/NAME without a file. `offered`: Hydra's own choices."""
    top = missing.split("/")[0]
    if top in ADDED_GROUPS:
        group, name = top, missing[len(top) + 1 :]
    else:
        group, _, name = missing.rpartition("/")
    if not group:  # a whole configuration, as of --config-name
        files = catalogue.files()
        return f"no configuration '{name}'.{did_you_mean(name, files)} Configurations: {', '.join(files)}."
    choices = sorted({*catalogue.choices(group), *(offered if top not in ADDED_GROUPS else [])})
    if not choices:
        return f"no configuration '{missing}'.{did_you_mean(missing, catalogue.groups())}"
    return f"no {group} '{name}'.{did_you_mean(name, choices)} Choices: {', '.join(choices)}."


def _cannot_override(key: str, appending: bool, overrides: Sequence[str], catalogue: Catalogue) -> str:
    if key in ADDED_GROUPS:
        name = next((o.partition("=")[2] for o in overrides if o.startswith(f"{key}=")), "NAME")
        return f"{key} is not part of a run by default: add it with a plus, +{key}={name}."
    if appending:
        return f"{key} exists already: set it without the plus, {key}=VALUE."
    stage, _, option = key.partition(".")
    if stage == "arms" and not option:
        value = next((o.partition("=")[2] for o in overrides if o.startswith("arms=")), "{a: {}, b: {}}")
        return f"arms are added with a plus: '+arms={value}'."
    if stage == "arms" or "@arms." in key:
        return f"options that an arm overrides are added with a plus: +{key}=VALUE."
    known = catalogue.options()
    if option and stage in known:
        return unknown_option(stage, option, known[stage], catalogue)
    return f"no option '{key}'.{_perhaps(key, known, catalogue)} See fedlab train --help."


def _perhaps(key: str, known: Mapping[str, Sequence[str]], catalogue: Catalogue) -> str:
    """Suggests existing options for an unknown `key`: options of the current choices, or of other choices."""
    stage, _, option = key.rpartition(".")
    if stage:  # optimizer.lr
        stages = suggestions(stage, known)
        found = [f"{s}.{o}" for s in stages for o in ([option] if option in known[s] else suggestions(option, known[s]))]
        return asked(found or stages)
    names = [*known, *catalogue.groups()]
    dotted = [f"{s}.{o}" for s, options in known.items() for o in options]
    if near := named_alike(key, names) or named_alike(key, dotted):
        return asked(near)
    choices: dict[str, list[str]] = {}
    for group, name, o in catalogue.all_options():
        choices.setdefault(f"{group}.{o}", []).append(f"'{group}={name}'")
    elsewhere = [f"'{o}' of {' or '.join(choices[o])}" for o in named_alike(key, choices)]
    return f" Did you mean {', or '.join(elsewhere)}?" if elsewhere else did_you_mean(key, names)


def unknown_option(stage: str, option: str, allowed: Iterable[str], catalogue: Catalogue) -> str:
    """Explains an option that the chosen configuration of `stage` does not have, and names the choices that have it."""
    allowed = list(allowed)
    have_it = [name for name in catalogue.choices(stage) if option in catalogue.options_of(stage, name)]
    hint = did_you_mean(option, allowed) or (
        f" It belongs to {' or '.join(f'{stage}={n}' for n in have_it[:3])}." if have_it else ""
    )
    if allowed:
        return f"no option '{stage}.{option}'.{hint} Options of {stage} as chosen: {', '.join(allowed)}."
    others = [name for name in catalogue.choices(stage) if catalogue.options_of(stage, name)]
    return (
        f"no option '{stage}.{option}': {stage} as chosen has no options.{hint} "
        f"Choices with options: {', '.join(f'{stage}={name}' for name in others)}."
    )


def validation_error(error: pydantic.ValidationError, stage: str, fields: Mapping[str, Any], catalogue: Catalogue) -> str:
    """Explains pydantic's first error about the options of `stage`, as `stage.key=value: …`. `fields`: the allowed options."""
    first, *others = error.errors()
    path = [str(part) for part in first["loc"]]
    alternatives = [_reason(first)]
    if path and "[" in path[-1]:  # one of several allowed types, each with an error of its own
        alternatives += [_reason(e) for e in others if e["loc"][: len(path) - 1] == first["loc"][:-1]]
        path.pop()
    key = re.sub(r"\.(\d+)\b", r"[\1]", ".".join([stage, *path] if stage else path))
    given, kind = first.get("input"), first["type"]
    if kind == "extra_forbidden":
        if stage:
            return unknown_option(stage, path[-1], fields, catalogue)
        return f"no option '{key}'.{did_you_mean(key, fields)} Options: {', '.join(fields)}."
    if kind == "missing":
        return f"{key} must be given: set {key}=VALUE."
    reason = ", or ".join(dict.fromkeys(alternatives))
    if kind == "value_error" and not path:
        return f"{stage}: {reason}."
    if kind in ("model_type", "model_attributes_type", "callable_type"):
        own = getattr(given, "func", type(given))  # a function, or a class that is no `Spec`, has its options bound by partial
        return wrong_kind(own, key, getattr(fields.get(path[0]), "annotation", None) if path else None)
    return f"{key}={given}: {reason}."


def is_plain_class(annotation: Any) -> TypeGuard[type]:
    """Returns True for a class, and False for a generic type such as Callable[..., Any], which Python 3.10 takes for a class."""
    return inspect.isclass(annotation) and get_origin(annotation) is None


def wrong_kind(own: Any, key: str, needed: Any) -> str:
    """Explains that the class or function `own` cannot be the stage `key`. `needed`: the base class of the stage, if any."""
    what = f"the {'class' if inspect.isclass(own) else 'function'} {own.__module__}.{own.__qualname__}"
    derived = f"derive it from {needed.__module__}.{needed.__name__}, or " if is_plain_class(needed) else ""
    return f"{key}._target_ names {what}, which is not a valid {key}: {derived}choose one with {key}=NAME."


def _reason(error: Any) -> str:
    """Returns pydantic's reason, reworded."""
    reason = str(error.get("ctx", {}).get("error", error["msg"]))
    for pydantics, ours in (("Input should be", "must be"), ("Input", "it"), ("a valid tuple", "a list")):
        reason = reason.replace(pydantics, ours)
    return re.sub(
        r"\b0\.0{4,}\d+\b", lambda number: f"{float(number[0]):g}", reason
    )  # 1e-12, which pydantic prints as 0.000000000001


class Catalogue:
    """The available choices and options, for hints; read from the YAML files only when a hint is needed."""

    def __init__(self, folders: Sequence[Any], defaults: Any):
        self._folders = folders  # pathlib.Path of each configuration folder
        self._defaults = defaults  # () → the configuration with the given choices of groups and no other override

    def groups(self) -> list[str]:
        """Returns the names of the groups."""
        names = {path.name for folder in self._folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
        return sorted(names - registry.own_folders())

    def files(self) -> list[str]:
        """Returns the names of the whole configurations, which are in no group."""
        return sorted({path.stem for folder in self._folders for path in folder.glob("*.yaml")})

    def choices(self, group: str) -> list[str]:
        """Returns the names of a group's choices, including those in subfolders."""
        roots = [folder / group for folder in self._folders]
        return sorted({str(path.relative_to(root).with_suffix("")) for root in roots for path in root.rglob("*.yaml")})

    def options_of(self, group: str, choice: str) -> list[str]:
        """Returns the options of one choice."""
        from omegaconf import OmegaConf

        path = next(p for folder in self._folders if (p := folder / group / f"{choice}.yaml").is_file())
        return [str(key) for key in OmegaConf.load(path) if key != "_target_"]

    def all_options(self) -> Iterator[tuple[str, str, str]]:
        """Yields (group, choice, option) of every choice of every stage."""
        for group in self.groups():
            if group not in ADDED_GROUPS:
                for choice in self.choices(group):
                    yield from ((group, choice, option) for option in self.options_of(group, choice))

    def options(self) -> dict[str, list[str]]:
        """Returns the options of every stage as chosen; options of the run itself have an empty list."""
        config = self._defaults()
        return {str(k): [str(i) for i in v if i != "_target_"] if hasattr(v, "keys") else [] for k, v in config.items()}
