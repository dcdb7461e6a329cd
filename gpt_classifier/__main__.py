"""``python -m gpt_classifier``."""

import sys

from gpt_classifier.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
