"""What stops heraci itself, each with the exit code it ends in.

Errors are exceptions: heraci could not do its work. What is wrong with the *user's* work is a
`heraci.bundle.Finding`, a value, and ends in exit code 1.
"""


class HeraciError(Exception):
    """Something outside heraci failed it: Git, the cluster, Argo or GitHub.

    The message says what is wrong, where, and what to do next; it is shown as it is.
    """

    exit_code = 3


class SettingsError(HeraciError):
    """A flag, a variable or a settings file that cannot be right."""

    exit_code = 2


class GitError(HeraciError):
    """A question to Git that has no answer here, most often for want of history."""


class BundleError(HeraciError):
    """A bundle that cannot be read, or that is not what its own index says."""


class CompileError(HeraciError):
    """The compiler itself could not start or was lost; never an experiment's own fault."""


class ClusterError(HeraciError):
    """The Kubernetes API did not do what was asked."""


class ArgoError(HeraciError):
    """The Argo Server did not do what was asked."""


class GitHubError(HeraciError):
    """GitHub did not do what was asked."""
