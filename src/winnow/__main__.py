"""`python -m winnow` is the command `winnow`, for launchers that start modules, such as torchrun."""

import sys

from winnow.cli import main

if __name__ == "__main__":
    sys.exit(main())
