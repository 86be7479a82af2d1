"""What runs in an agent's container: the pre-tool hook, the expert agent process and the tree loader."""

__version__ = "0.1.0"
