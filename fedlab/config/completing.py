"""Groups, choices and keys that complete an override, by Hydra's own completion."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fedlab import registry


def candidates(words: Sequence[str], word: str) -> list[str]:
    """Returns the groups, choices and keys that complete `word` after the overrides `words`."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.object_type import ObjectType
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from fedlab.config.composing import config_dir, folders, searching

    try:
        args, _ = get_args_parser().parse_known_args(list(words))
    except SystemExit:  # an option without its value
        return []
    overrides = list(args.overrides)
    with searching(folders(args.config_dir)), hydra.initialize_config_dir(config_dir=str(config_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()

        def listed(group: str, kind: ObjectType) -> list[str]:
            return loader.get_group_options(group, kind, config_name="train", overrides=overrides)

        def choices(group: str, below: str = "") -> Iterator[str]:
            yield from (below + name for name in listed(group, ObjectType.CONFIG))
            for name in listed(group, ObjectType.GROUP):
                yield from choices(f"{group}/{name}", f"{below}{name}/")

        line = " ".join([*overrides, word])
        found = set(DefaultCompletionPlugin(loader)._query(config_name="train", line=line))
        group, equals, _ = word.partition("=")
        if equals:  # also choices in subfolders, as in +experiment=digits/fedavg
            found |= {f"{group}={choice}" for choice in choices(group.lstrip("+~")) if f"{group}={choice}".startswith(word)}
    if not word.lstrip("+~").startswith("h"):
        found = {f for f in found if not f.lstrip("+~").startswith(("hydra.", "hydra/"))}
    found = {f for f in found if re.split("[=/]", f.lstrip("+~"))[0] not in registry.own_folders()}
    # A group that contains only folders is not a choice: `experiment/` is added to a run by `+experiment=`.
    whole = {f"+{f.strip('+~/')}=" if f.endswith("/") and "=" not in f and not f.startswith("hydra/") else f for f in found}
    return sorted(whole)
