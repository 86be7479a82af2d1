"""What all tests share: the chart harness as users install it."""

pytest_plugins = ["lighthouse_harness.plugin"]
