"""Write a review for its readers: GitHub, a terminal, a browser."""

from heraci.review.annotations import Annotations, annotated
from heraci.review.budget import Budget
from heraci.review.markdown import COMMENT, SUMMARY, findings, markdown
from heraci.review.page import page
from heraci.review.terminal import terminal

__all__ = [
    "COMMENT",
    "SUMMARY",
    "Annotations",
    "Budget",
    "annotated",
    "findings",
    "markdown",
    "page",
    "terminal",
]
