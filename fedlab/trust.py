"""Trust: what a folder or a file brings along runs as code only where the user has agreed.

Whoever composes a configuration trusts what it names. A recorded configuration (manifest.json of a run folder) and a model file
may come from somebody else. What in them could run code outside of fedlab's own components goes through `require`. It is refused
unless the user gave --trust, or answered a question on a terminal. docs/security.md describes the boundary.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from fedlab.errors import FedlabError

Question = Callable[[str], bool]  # shows what was found, returns whether the user agrees to it


class NotTrusted(FedlabError):
    """A folder or a file would run code that its user has not agreed to."""


@dataclasses.dataclass
class _Session:
    everything: bool = False
    agreed: set[str] = dataclasses.field(default_factory=set)
    ask: Question | None = None


_session = _Session()  # of the process: nothing is trusted


@contextlib.contextmanager
def session(everything: bool = False, ask: Question | None = None) -> Iterator[None]:
    """Begins without trust, or with `everything` trusted. `ask`: puts a question to the user; None: there is nobody to ask."""
    global _session
    before, _session = _session, _Session(everything, set(), ask)
    try:
        yield
    finally:
        _session = before


def trust_everything() -> None:
    """Trusts whatever comes until the session ends, as --trust asks for."""
    _session.everything = True


def everything_is_trusted() -> bool:
    """Returns whether the user gave --trust."""
    return _session.everything


def agree(findings: Sequence[str]) -> None:
    """Notes that the user agrees to these findings, since they are of their own making."""
    _session.agreed.update(findings)


def require(where: str, findings: Sequence[str]) -> None:
    """Returns where the user agrees to all `findings`, what in `where` can run code. Raises `NotTrusted` otherwise."""
    new = [finding for finding in findings if finding not in _session.agreed]
    if not new or _session.everything:
        return
    found = f"{where} can run code that is not fedlab's: {'; '.join(dict.fromkeys(new))}"
    if _session.ask is not None and _session.ask(found):
        agree(new)
        return
    raise NotTrusted(f"{found}. Give --trust if you trust whoever made it (docs/security.md).")
