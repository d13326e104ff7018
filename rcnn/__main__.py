"""`python -m rcnn`."""

import sys

from rcnn.cli import main

if __name__ == "__main__":  # data loaders that are spawned import this file again
    sys.exit(main())
