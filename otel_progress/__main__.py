"""`python -m otel_progress` is the command `otel-progress`."""

import sys

from ._cli import main

sys.exit(main())
