"""In processes of their own: what malloc does is settled once a process."""

import subprocess
import sys

import pytest

linux_only = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="speaks to the malloc of Linux"
)

COUNT_FAULTS = """
import resource, sys, torch
from mnist_vision.common.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
for repeat in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(10_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

MEASURE_RELEASE = """
import torch
from mnist_vision.common.memory import keep_freed_memory, release_memory

def resident():
    with open("/proc/self/status") as file:
        (line,) = [line for line in file if line.startswith("VmRSS")]
    return int(line.split()[1]) // 1024

keep_freed_memory()
torch.ones(10)
before = resident()
blocks = [torch.ones(5_000_000) for _ in range(20)]
cycle = [blocks]
cycle.append(cycle)
during = resident()
del blocks, cycle
release_memory()
print(during - before, resident() - before)
"""


def printed(script, *args):
    command = [sys.executable, "-c", script, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(number) for number in done.stdout.split()]


@linux_only
def test_memory_that_was_freed_is_used_again():
    (kept,), (given_back,) = printed(COUNT_FAULTS, "kept"), printed(COUNT_FAULTS, "given back")
    assert kept < given_back / 10


@linux_only
def test_memory_is_given_back_when_a_job_is_over():
    during, after = printed(MEASURE_RELEASE)
    assert during > 350
    assert after < 30
