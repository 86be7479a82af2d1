"""The capacity and cost planner; it reads renders with the chart harness, which needs no installation here."""

import sys

from ci.settings import ROOT

sys.path.insert(0, str(ROOT / "tests" / "harness"))
