"""A run's report: one page that needs no other file, and the same figures as JSON.

Every number on the page is taken from the JSON and says where: `<data data-figure="/measured/AP">`. So the page cannot
show what `rcnn evaluate --json` does not say.
"""

from rcnn.report.page.course import course_of
from rcnn.report.page.figures import Figures
from rcnn.report.page.page import render

__all__ = ["Figures", "course_of", "render"]
