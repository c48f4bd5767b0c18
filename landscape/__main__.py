"""``python -m landscape``: the command line, where a launcher wants a module (``torchrun -m landscape``)."""

import sys

from landscape.cli import main

if __name__ == "__main__":
    sys.exit(main())
