"""Makes a Redis cluster of the chart's pods, heals it, changes its size, and keeps its secrets current."""
