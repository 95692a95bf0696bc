"""Executable replication of PAVE and of Lipschitz step sizes for policy gradients."""
