"""Executable replication of PAVE and of Lipschitz step sizes for policy gradients."""

__version__ = "0.1.0"
