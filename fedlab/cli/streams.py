"""Output and files where the locale has no UTF-8, as under LC_ALL=C: every character comes out, if only spelt in others."""

from __future__ import annotations

import codecs
import contextlib
import locale
import os
import sys
import unicodedata

_SPELT = {
    **{"…": "...", "–": "-", "—": "-", "×": "x", "·": "*", "±": "+/-", "→": "->", "≤": "<=", "≥": ">=", "√": "sqrt"},
    **{"ε": "epsilon", "δ": "delta", "σ": "sigma", "μ": "mu", "α": "alpha", "∞": "inf", "✓": "ok", "✗": "X", "−": "-", "⁻": "-"},
    **{"’": "'", "‘": "'", "“": '"', "”": '"'},
}


def prepare() -> None:
    """Makes files UTF-8 whatever the locale, in child processes too; output streams spell what they cannot encode."""
    if codecs.lookup(locale.getpreferredencoding(False)).name != "utf-8":
        with contextlib.suppress(locale.Error):  # of a system without this locale: then files have that of the user
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        os.environ["PYTHONUTF8"] = "1"
    codecs.register_error("fedlab", _spell)
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) in ("strict", "surrogateescape", "backslashreplace") and hasattr(
            stream, "reconfigure"
        ):
            stream.reconfigure(errors="fedlab")


def _spell(error: UnicodeError) -> tuple[str | bytes, int]:
    """Encodes what a stream cannot; a byte of a file name that was no character comes out as it went in."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":
        return bytes([ord(character) - 0xDC00]), error.start + 1
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return _SPELT.get(character) or plain or "?", error.start + 1
