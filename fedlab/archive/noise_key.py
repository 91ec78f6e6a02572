"""noise.key: 256 random bits, as 64 hexadecimal digits; the run's draws that ε relies on follow from them. Only the owner may
read it.

Nothing else in the folder contains the key or its draws. Without the key, the run can neither be resumed nor verified.
"""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from fedlab.archive.arms import arm_configs
from fedlab.archive.folder import RunFolder, relative, replacing, to_disk
from fedlab.errors import FedlabError
from fedlab.randomness import Secret


class KeyThere(FedlabError):
    """A key already exists at the path; another run may need it."""


def create(path: pathlib.Path) -> Secret:
    """Writes a key to `path`, atomically; it is on disk when this returns. Raises `KeyThere`."""
    if path.exists():
        raise KeyThere(f"{path} is there already, and may be what another run needs: move it away.")
    secret = Secret.fresh()
    with replacing(path) as partial:
        partial.write_text(secret.key.hex() + "\n")
    return secret


def read(folder: RunFolder, identity: str) -> Secret:
    """Returns the key of the run in `folder`, whose manifest identifies it as `identity`.

    Raises `FedlabError` if the key is missing or is another one.
    """
    path = folder.noise_key
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise FedlabError(
            f"{relative(folder.path)} has no noise.key any more (`fedlab forget` deletes it): its noise cannot be drawn again: "
            "it can be neither resumed nor verified."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise FedlabError(f"{path} cannot be read: {error}.") from error
    secret = Secret.from_bytes(bytes.fromhex(text), "big") if re.fullmatch(r"[0-9a-f]{64}\n?", text) else None
    if secret is None or secret.identity != identity:
        raise FedlabError(f"{path} is damaged or belongs to another run: restore the file that this run began with.")
    return secret


def forget(folder: RunFolder) -> list[pathlib.Path]:
    """Deletes noise.key and the checkpoints, which are useless without it. Returns the deleted files."""
    keys = [folder.noise_key, replacing(folder.noise_key).partial]  # a killed process may have left the second
    there = [path for path in (*keys, *sorted(folder.checkpoints.glob("*"))) if path.is_file()]
    for path in there:
        if path in keys:
            with open(path, "r+b") as file:  # overwritten in place, if the file system does so
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
        path.unlink()
    for parent in {path.parent for path in there}:
        to_disk(parent)
    return there


def secrets_of_arms(secret: Secret, config: Mapping[str, Any]) -> dict[str, Secret]:
    """Returns a secret for each arm of `config` (a run's, as plain values); arms with the same configuration have the same
    secret.

    Arms that differ draw independently: two results with the same noise would reveal more than the sum of their ε.
    """
    configs = arm_configs(config)
    first = {name: next(other for other in configs if configs[other] == configs[name]) for name in configs}
    return {name: secret.derived(f"arm {same}") for name, same in first.items()}
