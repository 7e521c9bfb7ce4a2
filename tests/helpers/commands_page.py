"""docs/commands.md, from what `cmah COMMAND --help` prints; run this file to write it."""

from pathlib import Path

from click.testing import CliRunner

from cmah.cli.main import COMMANDS, group

PAGE = Path(__file__).resolve().parents[2] / "docs" / "commands.md"
HEAD = """# Commands

Every command prints its options with `--help`, and this page shows what it prints. `--debug` before the command's name
shows the traceback of an error. The exit status is 0 on success, 2 with one line where the user got something wrong,
and 130 after Ctrl-C.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in COMMANDS:
        shown = CliRunner().invoke(group, [name, "--help"], prog_name="cmah", terminal_width=80).stdout
        parts.append(f"## {name}\n\n```text\n{shown.rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
