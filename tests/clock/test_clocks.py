"""Device speeds: their distributions, files with them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fedlab.clock import Clock, Constant, HalfNormal, LogNormal, NoClock, Trace, Uniform
from fedlab.errors import ConfigError, FedlabError

NAMES = [str(i) for i in range(20_000)]


def test_speeds_follow_from_the_seed():
    for clock in (Constant(), HalfNormal(), LogNormal(), Uniform()):
        first, again, other = (clock.seconds(NAMES, seed) for seed in (0, 0, 1))
        assert np.array_equal(first, again) and first.dtype == np.float64 and np.all(first > 0)
        assert isinstance(clock, Constant) or not np.array_equal(first, other)
    assert NoClock().seconds(NAMES, 0) is None


def test_speeds_have_their_distribution():
    """20,000 draws: means and medians are within five standard errors."""
    assert np.array_equal(Constant(each=2.5).seconds(NAMES, 0), np.full(len(NAMES), 2.5))
    half = HalfNormal(scale=2.0).seconds(NAMES, 0)
    assert abs(half.mean() - 2 * np.sqrt(2 / np.pi)) < 5 * 2 * np.sqrt(1 - 2 / np.pi) / np.sqrt(len(NAMES))
    logs = np.log(LogNormal(median=3.0, sigma=0.5).seconds(NAMES, 0))
    assert abs(logs.mean() - np.log(3)) < 5 * 0.5 / np.sqrt(len(NAMES)) and abs(logs.std() - 0.5) < 0.02
    uniform = Uniform(low=1.0, high=3.0).seconds(NAMES, 0)
    assert 1 <= uniform.min() < 1.01 and 2.99 < uniform.max() <= 3 and abs(uniform.mean() - 2) < 0.02
    assert np.array_equal(Uniform(low=2.0, high=2.0).seconds(NAMES[:3], 0), [2.0] * 3)
    assert np.array_equal(LogNormal(median=2.0, sigma=0.0).seconds(NAMES[:3], 0), [2.0] * 3)


def test_a_trace_is_read_by_the_names_of_clients(tmp_path):
    (tmp_path / "devices.csv").write_text("\ufeffseconds,client,model\n1.5,b,x\n0.25,a,y\n9,c,z\n", encoding="utf-8")
    clock = Trace(path=str(tmp_path / "devices.csv"))
    clock.check()
    assert clock.seconds(["a", "b"], 0).tolist() == [0.25, 1.5]
    with pytest.raises(ConfigError, match=r"has no row for 1 of the 2 clients, such as client d: add a row"):
        clock.seconds(["a", "d"], 0)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name,seconds\na,1\n", "must name the columns client and seconds"),
        ("", "must name the columns client and seconds"),
        ("client,seconds\na,1\na,2\n", "line 3: client a has two rows"),
        ("client,seconds\na\n", "line 2: seconds is None"),
        *(
            (f"client,seconds\na,1\nb,{bad}\n", f"line 3: seconds is '{bad}', and must be")
            for bad in ("0", "-1", "x", "nan", "inf")
        ),
    ],
)
def test_a_broken_trace_is_refused_with_its_line(tmp_path, text, line):
    (tmp_path / "devices.csv").write_text(text)
    with pytest.raises(ConfigError, match=line) as caught:
        Trace(path=str(tmp_path / "devices.csv")).check()
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_values_out_of_range_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.csv cannot be read: No such file"):
        Trace(path=str(tmp_path / "nowhere.csv")).check()
    (tmp_path / "binary.csv").write_bytes(b"client,seconds\n\xff\xfe\x00,1\n")
    with pytest.raises(ConfigError, match="is no CSV file in UTF-8"):
        Trace(path=str(tmp_path / "binary.csv")).check()
    for wrong in (dict(low=2.0, high=1.0), dict(low=0.0)):
        with pytest.raises(ValueError, match="low"):
            Uniform(**wrong)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        ([1.0], "returned float64 .1.; it must return 3 numbers"),
        ("fast", "returned <U4 ..; it must return 3 numbers"),
        ([[1.0], [1.0, 2.0], []], "it must return 3 numbers"),
        ([1.0, 0.0, 1.0], "returned 0.0 seconds for a client; seconds must be finite and above 0"),
        ([1.0, float("nan"), 1.0], "returned nan seconds"),
    ],
)
def test_what_a_users_clock_returns_is_checked(made, line):
    class Own(Clock):
        def _seconds(self, client_ids, seed):
            return made

    with pytest.raises(FedlabError, match=f"clock: Own._seconds {line}" if line.startswith("returned") else line):
        Own().seconds(NAMES[:3], 0)


def test_a_users_clock_may_return_a_list():
    class Own(Clock):
        def _seconds(self, client_ids, seed):
            return [1 + len(name) for name in client_ids]

    assert Own().seconds(["a", "bcd"], 0).tolist() == [2.0, 4.0]
