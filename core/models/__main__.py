"""Entry point: ``python -m core.models``."""

import sys

from core.models.command import main

sys.exit(main())
