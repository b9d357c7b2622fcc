"""`python -m otel_progress` is the command `otel-progress`."""

import sys

from .cli.main import main

sys.exit(main())
