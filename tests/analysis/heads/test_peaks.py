"""What one head of a long prompt takes in memory, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

COSTS = Path(__file__).parents[2] / "benchmarks" / "costs.py"


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read as Linux tells it")
@pytest.mark.parametrize(
    "what",
    [
        "sources of a head, 2,048 tokens, 6 layers x 8 heads, width 256",
        "attention of a head, the same",
    ],
)
def test_one_head_of_2048_tokens_takes_no_memory_of_all_heads(what):
    """A pattern of one head is 17 MB; those of the layer are 134 MB, which its scores and a softmax take again."""
    command = [sys.executable, str(COSTS), "--child", what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) <= 60, "MB"
