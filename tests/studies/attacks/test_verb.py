"""`fedlab attack`: what it says before it starts anything."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "fedlab attack: no such run: nowhere"),
        (["nowhere", "attack.no=1"], "fedlab attack: "),
        (["nowhere", "rounds"], "fedlab attack: "),
    ],
)
def test_a_mistake_is_one_line_and_waits_for_no_tensorflow(words, says, tmp_path):
    code = (
        "import sys; from fedlab.cli.main import main; code = main(['attack', *sys.argv[1:]])\n"
        "sys.exit('imported' if 'tensorflow' in sys.modules else code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr.startswith(says) and done.stderr.count("\n") == 1 and done.returncode in (1, 2)
