"""Write a review for its readers: GitHub, a terminal, a browser."""

from heraci.review.budget import Budget
from heraci.review.markdown import COMMENT, SUMMARY, markdown

__all__ = ["COMMENT", "SUMMARY", "Budget", "markdown"]
