"""A section of a page, and the templates that pages are made of.

Everything that comes from a run is escaped where it enters a template; only what this package drew itself is `Markup`.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jinja2
from markupsafe import Markup

from fedlab.archive import Run
from fedlab.report import words

_TEMPLATES = pathlib.Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled part of a page. `anchor` is its address within it."""

    anchor: str
    title: str
    body: Markup


Builder = Callable[[Run], Section | None]  # None where the run has nothing to say on the matter


def section(anchor: str, title: str, template: str, **values: Any) -> Section:
    """A section whose body is `template` of templates/ with `values`."""
    return Section(anchor, title, render(template, **values))


def render(template: str, **values: Any) -> Markup:
    """A template as HTML."""
    return Markup(_environment().get_template(template).render(**values))


def breakable(name: object) -> Markup:
    """A dotted name that may be set in two lines, after a dot, an underscore or a slash."""
    return Markup("<wbr>").join(re.split(r"(?<=[._/])(?=.)", str(name)))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain = (words.percent, words.number, words.num_bytes, words.seconds, words.when, words.setting, words.counted)
    for word in (*plain, words.metric_label, words.metric_value, words.spread):
        environment.filters[word.__name__] = word
    environment.filters["breakable"] = breakable
    environment.globals["asset"] = lambda name: Markup((_TEMPLATES / name).read_text())
    return environment
