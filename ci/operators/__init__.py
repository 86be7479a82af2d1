"""The operators that a production release stands on: their images for the local cluster, and installing them."""
