"""`winnow train` for people who like `python scripts/train.py KEY=VALUE`."""

import sys

from winnow.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
