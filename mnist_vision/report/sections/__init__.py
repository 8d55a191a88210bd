"""The sections of the report.

To add a section, write a module here with its text, its tables, its plots and what they compute,
and a `SECTION` at its end; then add its name to `NAMES`. report.html and report.md both show it.
"""

from importlib import import_module

from mnist_vision.report.blocks import Section

# In their order on the page; the first is the header.
NAMES = (
    "headline",
    "lab",
    "digit_sets",
    "all_settings",
    "untested",
    "curves",
    "confusion_matrices",
    "confidence",
    "corrupted_digits",
    "cost",
    "differences",
    "tested_ensembles",
    "hard_digits",
    "attributions",
    "provenance",
)
SECTIONS: list[Section] = [import_module(f"{__name__}.{name}").SECTION for name in NAMES]
