"""`python -m embedcompress.cli`, the same as the command `embedcompress`."""

import sys

from . import main

sys.exit(main())
