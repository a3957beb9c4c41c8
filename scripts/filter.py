"""`winnow filter` for people who like `python scripts/filter.py KEY=VALUE`."""

import sys

from winnow.cli import main

if __name__ == "__main__":
    sys.exit(main(["filter", *sys.argv[1:]]))
