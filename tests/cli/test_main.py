"""The `cmah` group: help without heavy imports, one clear line and exit status 2 for what the user got wrong."""

import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import click
import numpy as np
import pytest
from click.testing import CliRunner

import cmah
import cmah.errors
from cmah.cli import main as cli


def fails_with(error: BaseException) -> Callable[[str], ModuleType]:
    """A stand-in for the import of a command that raises `error` when it is called."""

    @click.command()
    def command() -> NoReturn:
        raise error

    def stand_in(name: str) -> ModuleType:
        module = ModuleType(name)
        setattr(module, name.rpartition(".")[2], command)
        return module

    return stand_in


def exit_status(arguments: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli.group, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"Usage: group {name}")


def test_every_file_is_a_command() -> None:
    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - {"main", "options"}
    assert files == set(cli.COMMANDS)


def test_help_lists_the_commands_in_order() -> None:
    lines = CliRunner().invoke(cli.group, ["--help"]).output.splitlines()
    listed = re.findall(r"^  (\w+) ", "\n".join(lines[lines.index("Commands:") :]), re.MULTILINE)
    assert listed == list(cli.COMMANDS)


def test_version() -> None:
    assert CliRunner().invoke(cli.group, ["--version"]).output == f"cmah, version {cmah.__version__}\n"


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(["serach"]) == 2
    assert "No such command 'serach'" in capsys.readouterr().err


@pytest.mark.parametrize("error", [cmah.CmahError("a.csv, row 3:\n  no such shape"), OSError("disk full")])
def test_errors_are_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(error))
    assert exit_status(["info"]) == 2
    assert capsys.readouterr().err == f"Error: {' '.join(str(error).split())}\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (FileNotFoundError(2, "No such file", "a", None, "b"), "b: No such file"),
        (MemoryError(), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
    ],
)
def test_errors_of_the_system_are_explained(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(error))
    assert exit_status(["info"]) == 2
    assert capsys.readouterr().err.startswith(f"Error: {message}")


def test_a_fault_of_cmah_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(RuntimeError("index out of range")))
    with pytest.raises(RuntimeError):
        cli.main(["info"])


@pytest.mark.parametrize("arguments", [["--debug", "info"], ["info", "--debug"]])
def test_debug_shows_the_traceback(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(cmah.CmahError("wrong")))
    with pytest.raises(cmah.CmahError, match="wrong"):
        cli.main(arguments)


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(ModuleNotFoundError("no", name="torch")))
    assert exit_status(["train"]) == 2
    expected = 'Error: this needs the package torch; pip install ".[all]" (in the clone of cmah)\n'
    assert capsys.readouterr().err == expected


def test_a_missing_module_of_cmah_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(ModuleNotFoundError("no", name="cmah.nowhere")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["info"])


def test_interrupt(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "run", lambda arguments: (_ for _ in ()).throw(KeyboardInterrupt))
    assert exit_status(["info"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_as_a_process(tmp_path: Path) -> None:
    code = "from cmah.cli.main import main; main()"
    command = [sys.executable, "-c", code, "info", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_a_command_that_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "import_module", fails_with(KeyboardInterrupt()))
    assert exit_status(["info"]) == 130
    assert capsys.readouterr().err.strip() == "Interrupted."


def as_process(arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """`cmah` with these words, run by a shell, which may redirect."""
    command = f"{shlex.quote(sys.executable)} -m cmah {arguments}"
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, env={**os.environ, **options}
    )


def test_a_reader_that_has_enough() -> None:
    done = as_process("landmarks | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_standard_output_is_named() -> None:
    done = as_process("landmarks > /dev/full")
    assert (done.returncode, done.stderr) == (2, "Error: standard output: No space left on device\n")


def test_closed_streams_are_not_taken_for_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "signs.npy", np.ones((2, 8), np.int8))
    index = tmp_path / "a.cmah"
    for streams in (">&-", "<&- >&- 2>&-"):
        assert as_process(f"index {tmp_path / 'signs.npy'} {index} {streams}").returncode == 0
        assert len(cmah.HammingIndex.open(index, verify=True)) == 2


def test_names_that_the_locale_cannot_print(tmp_path: Path) -> None:
    folder = tmp_path / "chairs→"
    folder.mkdir()
    done = as_process(f"info '{folder}'", PYTHONIOENCODING="latin-1", PYTHONUTF8="0", LC_ALL="C.UTF-8")
    assert done.returncode == 2
    assert "\\u2192: neither a dataset" in done.stderr


def test_only_our_own_warnings_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(arguments: list[str]) -> None:
        warnings.simplefilter("always")
        logging.getLogger("trimesh").warning("a material is missing")
        warnings.warn("use something else", FutureWarning, stacklevel=1)
        warnings.warn("a view\ncannot be read", cmah.errors.CmahWarning, stacklevel=1)

    monkeypatch.setattr(cli, "run", warn)
    with warnings.catch_warnings():
        exit_status([])
    assert capsys.readouterr().err == "Warning: a view cannot be read\n"
    with pytest.warns(FutureWarning), pytest.warns(cmah.errors.CmahWarning):
        exit_status(["--debug"])
