"""``python -m sertransfer.cli``, for launchers such as torchrun that start modules."""

import sys

from sertransfer.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
