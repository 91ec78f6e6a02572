"""Output and files where the locale has no UTF-8 (LC_ALL=C): a missing character is spelt in ASCII. Also closed streams."""

from __future__ import annotations

import codecs
import contextlib
import locale
import os
import sys
import unicodedata
from typing import TextIO

_SPELT = {
    **{"…": "...", "–": "-", "—": "-", "×": "x", "·": "*", "±": "+/-", "→": "->", "≤": "<=", "≥": ">=", "√": "sqrt"},
    **{"ε": "epsilon", "δ": "delta", "σ": "sigma", "μ": "mu", "α": "alpha", "∞": "inf", "✓": "ok", "✗": "X", "−": "-", "⁻": "-"},
    **{"’": "'", "‘": "'", "“": '"', "”": '"'},
}


def prepare() -> None:
    """Makes files UTF-8 in every locale, also in child processes; output streams spell characters that they cannot encode.

    A closed output stream, as after `>&-`, discards what is printed.
    """
    sys.stdout, sys.stderr = sys.stdout or _nowhere(1), sys.stderr or _nowhere(2)
    if codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
        with contextlib.suppress(locale.Error):  # on a system without this locale, files keep the encoding of the user's locale
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        os.environ["PYTHONUTF8"] = "1"
    codecs.register_error("fedlab", _spell)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape", "backslashreplace") and hasattr(
            stream, "reconfigure"
        ):
            stream.reconfigure(errors="fedlab")


def _nowhere(descriptor: int) -> TextIO:
    """Returns a stream that discards its output. It takes `descriptor` if free: else the next open file would."""
    opened = os.open(os.devnull, os.O_WRONLY)
    try:
        os.fstat(descriptor)
    except OSError:
        os.dup2(opened, descriptor)
        os.close(opened)
        opened = descriptor
    os.set_inheritable(opened, True)  # child processes have the same streams
    return open(opened, "w", encoding="utf-8", errors="replace", closefd=False)


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encodes a character that a stream cannot; returns undecodable bytes of file names unchanged."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _SPELT.get(character) or plain or "?", error.start + 1
