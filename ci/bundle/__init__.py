"""A release: the chart with pinned digests, and one file to install it from where there is no network."""
