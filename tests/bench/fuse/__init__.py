"""Compares reading a project through Lighthouse's FUSE with other ways to read the same tree."""

import sys
from pathlib import Path

# Outside pytest nobody has told Python where the image's package lies.
sys.path.insert(0, str(Path(__file__).parents[3] / "images" / "fuse-csi"))
