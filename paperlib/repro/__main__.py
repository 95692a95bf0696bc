"""`python -m paperlib.repro` and the command `paperlib`: interrupted, even while loading, they end with one line."""

import logging
import sys

import paperlib


def main() -> int:
    """Entry point; returns the exit code, 130 where interrupted, 2 where the commands' dependencies are missing."""
    if sys.argv[1:] == ["--version"]:  # also of the library alone
        print(f"paperlib {paperlib.__version__}")
        return 0
    try:
        from paperlib.repro import cli

        return cli.main()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "paperlib":
            raise
        text = f"{error.name} is missing, as this is the library alone: pip install 'paperlib[notebooks]'"
        print(f"paperlib: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        logging.disable()  # asyncio would complain about the tasks that were cut off
        print("paperlib: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
