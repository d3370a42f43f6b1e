"""`python -m tests.workflows build` builds act, which runs workflows, and prints where it is."""

import sys

from tests.cluster.build import UnavailableError
from tests.workflows import act

if sys.argv[1:] != ["build"]:
    sys.exit("usage: python -m tests.workflows build")
try:
    print(act.built(may_install_go=True))
except UnavailableError as error:
    sys.exit(str(error))
