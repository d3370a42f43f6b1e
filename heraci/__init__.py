"""GitOps for numerical experiments written in Python with Hera."""

__version__ = "0.1.0"
