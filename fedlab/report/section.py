"""A section of a page, and the templates that pages are made of.

Templates escape all values from a run; only content that this package generates is `Markup`.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from fedlab import registry
from fedlab.archive import Run
from fedlab.report import words

TEMPLATES = pathlib.Path(__file__).parent / "templates"


@dataclasses.dataclass(frozen=True)
class Section:
    """A titled part of a page. `anchor`: its address within the page."""

    anchor: str
    title: str
    body: Markup


Builder = Callable[[Run], Section | None]  # None if the run has no content for the section


def section(anchor: str, title: str, template: str, **values: Any) -> Section:
    """Renders `template` with `values` as a section: FILE.html in templates/, or STUDY/FILE.html of a study."""
    return Section(anchor, title, render(template, **values))


def render(template: str, **values: Any) -> Markup:
    """Renders a template as HTML."""
    return Markup(_environment().get_template(template).render(**values))


def breakable(name: object) -> Markup:
    """Returns a name that the browser may break after a dot, an underscore or a slash."""
    return Markup("<wbr>").join(re.split(r"(?<=[._/])(?=.)", str(name)))


_UNIT = re.compile(r"(?<=\d) (?=(?:s|min|h|B|kB|MB|GB|TB|points)\b|× 10)|(?<=×) (?=10)")


def unbroken(text: object) -> str:
    """Returns `text` with no-break spaces between numbers and their units."""
    return _UNIT.sub("\N{NO-BREAK SPACE}", str(text))


def _of_one_piece(word: Callable[..., str]) -> Callable[..., str]:
    return lambda *values: unbroken(word(*values))


@functools.cache
def _environment() -> jinja2.Environment:
    of_studies = {name: jinja2.FileSystemLoader(folder) for name, folder in registry.templates().items()}
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.FileSystemLoader(TEMPLATES), jinja2.PrefixLoader(of_studies)]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    plain: Sequence[Callable[..., str]] = (words.percent, words.decimals, words.when, words.setting, words.counted)
    numbers: Sequence[Callable[..., str]] = (words.number, words.num_bytes, words.seconds, words.metric_value, words.spread)
    environment.filters |= {word.__name__: word for word in (*plain, words.metric_label)}
    environment.filters |= {word.__name__: _of_one_piece(word) for word in numbers}
    environment.filters["unbroken"] = unbroken
    environment.filters["breakable"] = breakable
    environment.globals["asset"] = lambda name: Markup((TEMPLATES / name).read_text())
    return environment
