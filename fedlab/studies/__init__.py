"""Studies: features that cross folders, each a folder with its options, computing, record, report section and verb side by side.

`fedlab/__init__.py` imports this package, which registers them (`fedlab.registry`). Lower folders ask the registry and know no
study by name. To add a study, write its folder, whose `__init__.py` has a `STUDY`, and add it to the loop. Imports nothing slow.
"""

import pathlib

from fedlab import registry
from fedlab.studies import attacks, difftest, investigate, reproduce, sweep

for _study in (difftest, attacks, investigate, sweep, reproduce):
    registry.register(_study.STUDY, pathlib.Path(__file__).parent / _study.STUDY.name)
