"""noise.key: the 256 bits from which a run draws what its ε rests on, as 64 hexadecimal digits. Its owner alone may read it.

Nothing else in the folder holds the key, or anything of what is drawn from it. Without it a run can be neither resumed nor
verified.
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


def create(path: pathlib.Path) -> Secret:
    """Writes a key to `path`, whole or not at all; it is on disk when this returns. Raises `FedlabError` if one is there."""
    if path.exists():
        raise FedlabError(f"{path} is there already, and may be what another run needs: move it away.")
    secret = Secret.fresh()
    with replacing(path) as partial:
        partial.write_text(secret.key.hex() + "\n")
    return secret


def read(folder: RunFolder, identity: str) -> Secret:
    """Returns the key of the run in `folder`, whose manifest knows it as `identity`.

    Raises `FedlabError` where it is gone, or is another.
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
    """Deletes noise.key and the checkpoints, from which nothing can go on without it. Returns what was there."""
    keys = [folder.noise_key, replacing(folder.noise_key).partial]  # a killed process may have left the second
    there = [path for path in (*keys, *sorted(folder.checkpoints.glob("*"))) if path.is_file()]
    for path in there:
        if path in keys:
            with open(path, "r+b") as file:  # as far as the file system writes in place
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
        path.unlink()
    for parent in {path.parent for path in there}:
        to_disk(parent)
    return there


def secrets_of_arms(secret: Secret, config: Mapping[str, Any]) -> dict[str, Secret]:
    """A secret for each arm of `config`, a run's as plain values; arms of the same configuration have the same one.

    Arms that differ draw independently: two results with the same noise would give away more than the sum of their ε.
    """
    configs = arm_configs(config)
    first = {name: next(other for other in configs if configs[other] == configs[name]) for name in configs}
    return {name: secret.derived(f"arm {same}") for name, same in first.items()}
