"""`winnow compare` for people who like `python scripts/compare.py KEY=VALUE`."""

import sys

from winnow.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
