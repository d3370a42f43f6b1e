"""`python -m tests.image build` builds the image and prints its name; `stop` ends the engine."""

import sys

from tests.image.engine import main

sys.exit(main())
