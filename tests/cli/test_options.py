"""Options that several commands have."""

from functools import partial
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cmah.cli import options
from cmah.cli.main import COMMANDS, group
from cmah.cli.options import Numbers


def given(text, *arguments, **keywords):
    @click.command()
    @click.option("--n", type=Numbers(*arguments, **keywords))
    def command(n):
        click.echo(repr(n))

    return CliRunner().invoke(command, [] if text is None else ["--n", text])


@pytest.mark.parametrize(
    ("text", "whole", "expected"),
    [
        ("16", True, "(16,)"),
        ("16,32,1e6", True, "(16, 32, 1000000)"),
        ("9" * 30, True, f"({'9' * 30},)"),
        ("-3,0", True, "(-3, 0)"),
        ("", True, "()"),
        (None, True, "None"),
        ("0,20.5,-1e-2", False, "(0.0, 20.5, -0.01)"),
    ],
)
def test_numbers(text, whole, expected):
    result = given(text, whole=whole)
    assert (result.exit_code, result.output.strip()) == (0, expected)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("x", {}, "'x', expected whole numbers such as 16,32"),
        ("1,,2", {}, "expected whole numbers such as"),
        ("inf", {}, "expected whole numbers such as"),
        ("nan", {}, "expected whole numbers such as"),
        ("1.5", {"minimum": 1}, "'1.5', expected whole numbers, 1 or more"),
        ("3,0", {"minimum": 1}, "'3,0', expected whole numbers, 1 or more"),
        ("", {"whole": False}, "expected numbers such as 0,20.5"),
        ("-1", {"whole": False, "minimum": 0}, "expected numbers, 0 or more"),
    ],
)
def test_refusals(text, options, message):
    result = given(text, **options)
    assert result.exit_code == 2
    assert message in result.output


def test_a_default_may_be_text_or_a_tuple():
    for default in ("1,2", (1, 2)):

        @click.command()
        @click.option("--n", type=Numbers(), default=default)
        def command(n):
            click.echo(repr(n))

        assert CliRunner().invoke(command, []).output == "(1, 2)\n"


def test_an_empty_path_and_nan_are_refused() -> None:
    @click.command()
    @click.argument("path", type=click.Path(path_type=Path))
    @click.option("--part", type=click.FloatRange(0, 1))
    def command(path: Path, part: float) -> None:
        click.echo(f"{path} {part}")

    run = partial(CliRunner().invoke, options.strict(command))
    assert run(["here", "--part", "0.5"]).output == "here 0.5\n"
    assert "an empty text, expected a path" in run([""]).output
    assert "nan, expected a number" in run(["here", "--part", "nan"]).output
    assert "not in the range" in run(["here", "--part", "inf"]).output


def test_a_url_is_refused_as_any_path_of_any_command() -> None:
    url, refused = "https://example.org/shapes.zip", []
    for name in COMMANDS:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        before: list[str] = []
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):  # FILES of search are skipped one by one
                option = [parameter.opts[0]] if isinstance(parameter, click.Option) else before
                result = CliRunner().invoke(group, [name, *option, *[url] * max(1, parameter.nargs)])
                assert result.exit_code == 2, (name, parameter, result.output)
                assert f"{url}: a URL, expected a path; download it first" in result.output, (name, parameter)
                refused.append(f"{name} {parameter.opts[0]}")
            if isinstance(parameter, click.Argument):
                before.append("x")
    assert {"prepare meshes", "prepare out", "export run", "eval --json", "search --files-from"} <= {*refused}
