"""``python -m pqrnn_native`` is the command ``pqrnn-native``."""

import sys

from .cli import main

sys.exit(main())
