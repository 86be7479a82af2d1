"""Hand-written truth about NetworkPolicy, and an independent second opinion."""
