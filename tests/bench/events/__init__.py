"""Compares the event store with what its engines do by themselves."""

import sys
from pathlib import Path

# Outside pytest nobody has told Python where the image's package lies.
sys.path.insert(0, str(Path(__file__).parents[3] / "images" / "bridge"))
