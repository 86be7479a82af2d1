"""Decisions: shell text becomes a typed tree, every part is judged by rules, and the verdict says why."""
