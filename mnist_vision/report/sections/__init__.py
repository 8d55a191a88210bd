"""The sections of the report.

To add a section, write a module here with its text, its tables, its plots and what they compute.
It ends with a `SECTION`, which belongs into `SECTIONS`. report.html and report.md both show it.
"""

from mnist_vision.report.blocks import Section
from mnist_vision.report.sections import (
    all_settings,
    confusion_matrices,
    cost,
    curves,
    differences,
    digit_sets,
    hard_digits,
    headline,
    lab,
    provenance,
)

# In their order on the page; the first is its header.
SECTIONS: list[Section] = [
    headline.SECTION,
    lab.SECTION,
    digit_sets.SECTION,
    all_settings.SECTION,
    curves.SECTION,
    confusion_matrices.SECTION,
    cost.SECTION,
    differences.SECTION,
    hard_digits.SECTION,
    provenance.SECTION,
]
