"""What does not fit is refused with numbers; limits of the system count."""

import subprocess
import sys

import pytest

from cmah import memory
from cmah.errors import CmahError


def test_a_result_that_does_not_fit_is_refused_with_the_numbers(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    memory.require_room(8 * 10**8, "hits", "ask for fewer")
    with pytest.raises(CmahError) as caught:
        memory.require_room(2 * 10**9, "hits", "ask for fewer", CmahError)
    assert str(caught.value) == "hits need 2.0 GB of memory, 1.0 GB are available; ask for fewer"
    monkeypatch.setattr(memory, "available_bytes", lambda: None)  # unknown: nothing is refused
    memory.require_room(2 * 10**15, "hits", "ask for fewer")


def test_small_results_ask_for_nothing(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: pytest.fail("asked"))
    memory.require_room(memory.SMALL, "hits", "ask for fewer")


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc")
def test_a_limit_on_the_address_space_counts():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20));"
        "from cmah.memory import available_bytes; print(available_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 300 << 20


def test_control_groups_leave_what_is_not_used_but_for_cached_files(tmp_path):
    names = ("memory.max", "memory.current", "memory.stat")
    for name, text in zip(names, ("1000", "700", "anon 5\ninactive_file 200\n"), strict=True):
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in names]
    assert list(memory._left(*paths)) == [500]
    paths[0].write_text("max\n")
    assert list(memory._left(*paths)) == []
