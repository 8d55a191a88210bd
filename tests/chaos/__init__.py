"""What `test_chaos.py` needs: real processes, the checks of a run, and a run that is harmed."""

import pytest

# Otherwise a failed check would not show its values.
pytest.register_assert_rewrite("tests.chaos.process", "tests.chaos.checks", "tests.chaos.trial")
