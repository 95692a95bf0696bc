"""`python -m paperlib.repro` and the command `paperlib`: interrupted, even while loading, they end with one line."""

import logging
import sys


def main() -> int:
    """Entry point; returns the exit code, 130 where interrupted."""
    try:
        from paperlib.repro import cli

        return cli.main()
    except KeyboardInterrupt:
        logging.disable()  # asyncio would complain about the tasks that were cut off
        print("paperlib: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
