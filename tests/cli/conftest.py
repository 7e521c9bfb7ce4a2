"""What the tests of the commands share."""

import pytest


@pytest.fixture
def call(capsys):
    """Run a command: (exit status, standard output, standard error)."""
    from cmah.cli.main import main

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run
