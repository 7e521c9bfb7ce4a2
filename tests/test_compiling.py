"""Kernels where Numba finds no place for compiled code."""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

WITHOUT_A_HOME = """
import os, sys
import numpy as np
import cmah.compiling
from cmah.kernels import hamming
import numba
words = np.arange(4, dtype=np.uint64)[:, None]
assert hamming.distances(words, words)[3].tolist() == [2, 1, 1, 0]
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
folder = numba.config.CACHE_DIR
print(folder, len(os.listdir(folder)), oct(os.stat(folder).st_mode)[-3:]) if folder else print("none")
"""


@pytest.mark.slow
def test_a_folder_for_this_process_alone(tmp_path):
    pytest.importorskip("numba")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_A_HOME],
        cwd=tmp_path,
        # Numba then knows of no folder but a named one
        env={
            **environment,
            "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    if done.stdout == "none\n":
        pytest.skip("this Numba does not let its kinds of folders be chosen")
    folder, entries, mode = done.stdout.rsplit(maxsplit=2)
    assert folder.startswith(str(tmp_path))
    assert (int(entries) > 0, mode) == (True, "700")
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_costs_the_keeping_only():
    pytest.importorskip("numba")
    from numba.core.caching import Cache

    import cmah.compiling  # noqa: F401

    def full(signature, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    Cache.save_overload(
        SimpleNamespace(_guard_against_spurious_io_errors=nullcontext, _save_overload=full), 1, 2
    )


@pytest.mark.slow
def test_an_edit_of_one_kernel_has_all_compiled_anew(tmp_path):
    """Numba itself looks at the file of a function only, and kernels have code of others in them."""
    pytest.importorskip("numba")
    from cmah import compiling, kernels

    (folder,) = {path for path in kernels.__path__ if os.path.isdir(path)}
    stamp = compiling.caching._SourceFileBackedLocatorMixin.get_source_stamp
    ours, others = (
        SimpleNamespace(_py_file=os.path.join(where, "hamming.py")) for where in (folder, tmp_path)
    )
    (tmp_path / "hamming.py").write_text("")
    before = stamp(ours)
    assert before == stamp(SimpleNamespace(_py_file=os.path.join(folder, "clouds.py")))
    assert stamp(others) != before
    copy = tmp_path / "kernels"
    shutil.copytree(folder, copy)
    (copy / "clouds.py").write_text("# edited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiling.kernels, "__path__", [str(copy)])
        patch.setattr(compiling.caching._SourceFileBackedLocatorMixin, "get_source_stamp", lambda self: "own")
        compiling._compile_anew_after_an_edit_of_any_kernel()
        new = compiling.caching._SourceFileBackedLocatorMixin.get_source_stamp
        edited = new(SimpleNamespace(_py_file=str(copy / "hamming.py")))
        assert edited not in (before, "own")
        assert new(others) == "own"
