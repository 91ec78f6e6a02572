"""Trust: code that a folder or a file names runs only if the user has agreed.

A user who composes a configuration trusts the code that it names. A recorded configuration (manifest.json of a run folder) and a
model file may come from other people. Any part of them that could run code outside of fedlab's own components goes through
`require`, which refuses it unless the user gave --trust or agreed on a terminal. docs/security.md describes the boundary.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence

from fedlab.errors import FedlabError

FLAG = "--trust"
Question = Callable[[str], bool]  # shows the findings and returns True if the user agrees


class NotTrusted(FedlabError):
    """A folder or a file would run code that the user has not agreed to."""


@dataclasses.dataclass
class _Session:
    everything: bool = False
    agreed: set[str] = dataclasses.field(default_factory=set)
    ask: Question | None = None


_session = _Session()  # of the process: nothing is trusted


@contextlib.contextmanager
def session(everything: bool = False, ask: Question | None = None) -> Iterator[None]:
    """Begins a session without trust, or with `everything` trusted. `ask`: asks the user; None: nobody can be asked."""
    global _session
    before, _session = _session, _Session(everything, set(), ask)
    try:
        yield
    finally:
        _session = before


def trust_everything() -> None:
    """Trusts everything until the session ends, as with --trust."""
    _session.everything = True


def everything_is_trusted() -> bool:
    """Returns True if the user gave --trust."""
    return _session.everything


def agree(findings: Sequence[str]) -> None:
    """Records that the user agrees to these findings, for example because the user made them."""
    _session.agreed.update(findings)


def require(where: str, findings: Sequence[str]) -> None:
    """Returns if the user agrees to all `findings`: the parts of `where` that can run code. Raises `NotTrusted` otherwise."""
    new = [finding for finding in findings if finding not in _session.agreed]
    if not new or _session.everything:
        return
    found = f"{where} can run code that is not fedlab's: {'; '.join(dict.fromkeys(new))}"
    if _session.ask is not None and _session.ask(found):
        agree(new)
        return
    raise NotTrusted(f"{found}. Give {FLAG} (in Python, trust=True) if you trust whoever made it (docs/security.md).")
