"""What Lighthouse measures and what is made of it: the table of metrics, rules and dashboards, held against each other."""

import sys

from ci.settings import ROOT

# The images' packages and the chart harness need no installation here.
for _folder in ("images/bridge", "images/agent", "images/fuse-csi", "images/redis-keeper", "tests/harness"):
    sys.path.insert(0, str(ROOT / _folder))
