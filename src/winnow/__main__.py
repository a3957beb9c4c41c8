"""Run the `winnow` command line with `python -m winnow`, as required by launchers such as torchrun."""

import sys

from winnow.cli import main

if __name__ == "__main__":
    sys.exit(main())
