"""What all tests share: the chart harness as users install it, and the evidence table."""

pytest_plugins = ["lighthouse_harness.plugin", "tests.evidence"]
