"""The family on one data set with one backbone: trained, measured, and beside the papers' numbers."""

from rcnn.api.compare.plan import Asked, Plan, make_plan
from rcnn.api.compare.run import Watcher, compare
from rcnn.api.compare.studies import STUDIES

__all__ = ["STUDIES", "Asked", "Plan", "Watcher", "compare", "make_plan"]
