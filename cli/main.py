"""The `cmah` command: a group whose subcommands, one file each, are imported only when called."""

import codecs
import io
import json
import logging
import os
import re
import signal
import sys
import warnings
from importlib import import_module
from typing import Any

import click

import cmah
from cmah.cli.options import strict
from cmah.cli.stopping import ARGUMENTS, CAN_RESUME, HAS_KEPT, STATUS, Stopping, stopped
from cmah.progress import say

COMMANDS = {
    "demo": "run everything below on synthetic shapes; ends with a page to look at",
    "prepare": "render views and sample points of a folder of meshes",
    "train": "train a published method on a dataset folder",
    "encoders": "list the published encoders that train can build on",
    "landmarks": "show, or make, texts on what objects of a category look like",
    "export": "encode a dataset with a run: write codes or embeddings",
    "hash": "make codes from anyone's embeddings, without training a network",
    "index": "build a search index from a code file",
    "search": "find the items nearest to photos, meshes, point clouds or codes",
    "eval": "measure retrieval: mAP, P@K and more, of queries against a database",
    "classify": "classify shapes or images by category names (zero-shot)",
    "bench": "measure search speed beside other engines and the machine's limits",
    "info": "say what a dataset, run, code file or index holds",
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them, so that help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the way of the data."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import cmah.cli.<name> and return its command: <name>, or <name>_ where that is a word of Python."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"cmah.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name, None) or getattr(module, f"{cmd_name}_")
        return strict(command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Remember the arguments, to name the command that goes on when this one is stopped."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C and SIGTERM end it with the exit status that shells expect."""

        def line() -> str:
            resume, kept = ctx.meta.get(CAN_RESUME, bool), ctx.meta.get(HAS_KEPT, lambda: True)
            return stopped(ctx.meta[ARGUMENTS], resume=resume(), kept=kept())

        stopping = Stopping(line)
        try:
            with stopping.watching():
                return super().invoke(ctx)
        except BrokenPipeError:
            _close_output()  # whoever read it has enough, as `head` has
            sys.exit(141)
        except (KeyboardInterrupt, Exception) as error:
            # an error after the signal is its consequence, such as that of a worker that got it too
            if not isinstance(error, KeyboardInterrupt) and stopping.since is None:
                raise
            say(line())
            sys.exit(STATUS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line per command."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(cmah.__version__, prog_name="cmah")
@click.option(
    "--debug", is_flag=True, help="Show the traceback of an error, and the warnings of all libraries."
)
def group(debug: bool) -> None:
    """Find 3D shapes by a photo, and photos by a shape, in a few bytes per object.

    \b
    meshes -prepare-> dataset -train-> run -export-> codes -index-> index -search-> hits
                                                       '-eval-> report
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what the user got wrong is one line on standard error and exit status 2."""
    # Two threads that spin while they wait took over 4 s for a training step where other processes shared the two
    # cores; threads that sleep took 0.27 s. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    _prepare_output(debug)
    try:
        # --debug is accepted anywhere on the line
        sys.exit(run([argument for argument in arguments if argument != "--debug"]))
    except SystemExit as error:
        if error.code == STATUS:  # another Ctrl-C ends what is still being put away, without a word
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise
    except (cmah.CmahError, OSError, MemoryError, RuntimeError) as error:
        text = _explanation(error)
        if isinstance(error, OSError) and error.filename is None and _output_failed(error):
            text = f"standard output: {error.strerror}"
            _close_output()
        if debug or not text:
            raise
        click.echo(f"Error: {' '.join(text.split())}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:  # before or after a command
        click.echo("stopped", err=True)
        sys.exit(STATUS)
    except ModuleNotFoundError as error:
        if debug or (error.name or "").startswith("cmah"):
            raise
        click.echo(
            f'Error: this needs the package {error.name}; pip install ".[all]" (in the clone of cmah)',
            err=True,
        )
        sys.exit(2)


def _prepare_output(debug: bool) -> None:
    """Make the standard streams fit for every name, and keep the warnings of other libraries out of them."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except (
            OSError
        ):  # closed: a file that is opened later would take its place and receive what is printed
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:  # as it was closed
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, open as long as the process
    messages = sys.__stderr__
    if isinstance(messages, io.TextIOWrapper) and sys.stderr is messages:
        sys.stderr = _Messages(messages.buffer, encoding=messages.encoding, line_buffering=True)
    codecs.register_error("cmah", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="cmah")
    if not debug:
        warnings.showwarning = _show_warning
        logging.getLogger().addHandler(logging.NullHandler())  # without any, Python prints what libraries log


class _Messages(io.TextIOWrapper):
    """Standard error where a message that cannot be written, as on a full disk, ends no job.

    That its reader has gone still does, as with standard output.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            raise
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError:
            pass


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding cannot express, also of names that are no Unicode: as in JSON."""
    assert isinstance(error, UnicodeEncodeError)
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    from cmah.errors import CmahWarning

    if issubclass(category, CmahWarning):
        click.echo(f"Warning: {' '.join(str(message).split())}", err=True)


def _output_failed(error: BaseException) -> bool:
    """Whether an error was raised while something was printed: it names no file."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals["__name__"].startswith(("click.", "cmah.cli."))


def _close_output() -> None:
    """Let what is still to be printed go nowhere, for Python would fail at it once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _explanation(error: Exception) -> str:
    """What the user can put right, in words; empty if it is a fault of cmah."""
    if isinstance(error, cmah.CmahError):
        return str(error)
    if isinstance(error, OSError):
        name = error.filename2 or error.filename
        return f"{name}: {error.strerror}" if name and error.strerror else error.strerror or str(error)
    # torch has no class of its own for memory of the CPU that is exhausted
    if isinstance(error, MemoryError) or re.search("out of memory|can't allocate memory", str(error)):
        return f"not enough memory ({str(error)[:150]}); try smaller batches, images or models"
    return ""


def run(arguments: list[str]) -> Any:
    """Parse and run without translating exceptions of cmah (click's own usage errors exit with 2)."""
    return group.main(args=arguments, prog_name="cmah", standalone_mode=True)
