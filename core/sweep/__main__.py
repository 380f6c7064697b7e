"""Entry point: ``python -m core.sweep``."""

import sys

from core.sweep.command import main

sys.exit(main())
