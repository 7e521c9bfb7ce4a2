"""The `cmah` group: help without heavy imports, one clear line and exit status 2 for what the user got wrong."""

import logging
import os
import re
import shlex
import signal
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

    def fail() -> NoReturn:
        raise error

    return does(fail)


def does(action: Callable[[], NoReturn]) -> Callable[[str], ModuleType]:
    """A stand-in for the import of a command that takes any arguments and does this."""

    @click.command(context_settings={"ignore_unknown_options": True})
    @click.argument("given", nargs=-1)
    def command(given: tuple[str, ...]) -> NoReturn:
        action()

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
    files = {path.stem for path in Path(cli.__file__).parent.glob("*.py")} - {"main", "options", "stopping"}
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
    assert capsys.readouterr().err == "stopped\n"


def test_as_a_process(tmp_path: Path) -> None:
    code = "from cmah.cli.main import main; main()"
    command = [sys.executable, "-c", code, "info", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["export", "my run", "data"], "stopped; cmah export 'my run' data goes on from here"),
        (["eval", "--json"], "stopped; cmah eval --json starts anew"),
    ],
)
def test_a_command_that_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    monkeypatch.setattr(cli, "import_module", does(interrupt))
    assert exit_status(arguments) == 130
    assert capsys.readouterr().err == f"{line}\n"


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def be_terminated() -> NoReturn:
    """What happens where a signal reaches the worker processes too: their end is an error in the main one."""
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
    raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")


def test_a_command_that_is_terminated_with_its_workers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)]
    monkeypatch.setattr(cli, "import_module", does(be_terminated))
    assert exit_status(["prepare", "a", "b"]) == 130
    assert capsys.readouterr().err == "stopped; cmah prepare a b goes on from here\n"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)] == handlers
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.parametrize("written", [False, True])
def test_a_training_is_resumed_once_its_folder_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, written: bool
) -> None:
    def train(*_: object, **__: object) -> NoReturn:
        if written:
            (tmp_path / "config.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("cmah.train", train, raising=False)
    assert exit_status(["train", "data", "--out", str(tmp_path), "--epochs", "5"]) == 130
    resume = " --resume" * written
    expected = f"stopped; cmah train data --out {tmp_path} --epochs 5{resume} goes on from here\n"
    assert capsys.readouterr().err == expected


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


def test_a_search_without_a_standard_output(tmp_path: Path) -> None:
    np.save(tmp_path / "signs.npy", np.ones((2, 8), np.int8))
    codes = cmah.BinaryCodes.load(tmp_path / "signs.npy")
    codes.save(tmp_path / "codes.npz")
    index = cmah.HammingIndex(8)
    index.add(codes)
    index.save(tmp_path / "a.cmah")
    search = f"search {tmp_path / 'a.cmah'} --codes {tmp_path / 'codes.npz'}"
    done = as_process(f"{search} >&-")
    assert (done.returncode, done.stderr) == (0, "")
    for form in ("", "--json"):
        done = as_process(f"{search} {form} > /dev/full")
        assert (done.returncode, done.stderr) == (2, "Error: standard output: No space left on device\n")


def test_messages_that_cannot_be_written_end_no_job(tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import sys\nfrom cmah.cli import main as cli\nfrom cmah.progress import say\n"
        "cli._prepare_output(False)\nfor i in range(9): say('x' * 5000)\nprint('done')\n"
    )
    run = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} 2> /dev/full"
    done = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert as_process(f"info {tmp_path / 'none'} 2> /dev/full").returncode == 2


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
