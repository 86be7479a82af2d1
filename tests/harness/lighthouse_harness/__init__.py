"""Prove a Helm chart offline: one typed model of a render and many evaluators over it."""
