"""`python -m mfh`, needed under torchrun."""

import sys

from mfh.cli import main

if __name__ == "__main__":
    sys.exit(main())
