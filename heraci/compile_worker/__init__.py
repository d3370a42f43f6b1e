"""Run one experiment's Python and send back, as data, the workflows that it would have submitted.

This is the only code that runs an author's Python. It is plain standard library, because it runs
beside whatever Hera (5.6 to 7.x) and Python (3.9 or later) an experiment asks for, and it finds out
what is there instead of asking for a version. The wall around it is `server`'s affair;
nothing here is a defence against a hostile script, which can lie about itself alone.

Whatever would reach a server is recorded instead of sent, and answered with something that a
script can go on with. `run` describes the job and the result.
"""

import base64

# Marks every credential that a script is given; found in a manifest, it is an error.
PLACEHOLDER = "heraci-placeholder"
PLACEHOLDER_TOKEN = PLACEHOLDER + "-token"
ENCODED_PLACEHOLDER = base64.b64encode(PLACEHOLDER.encode()).decode()
PLACEHOLDER_SERVER = "https://argo.invalid"
# What stands in a manifest for the folder that the experiment was compiled in.
ROOT_MARKER = "/heraci-repository"
# What git is said to answer when a script asks for the commit; heraci.COMMIT, for all Pythons.
COMMIT = "heraci-commit-marker-replaced-by-the-sha"
