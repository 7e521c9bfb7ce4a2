"""`python -m cmah`: the command line, for where the command `cmah` is not on the path."""

from cmah.cli.main import main

if __name__ == "__main__":
    main()
