"""A pytest plugin: nbval's kernels as `paperlib run` has them, without the user's settings."""

from contextlib import ExitStack

import nbval.kernel
import pytest

from paperlib.repro.kernels import BlockingPrivateKernelManager, kernel_environment


def pytest_configure(config: pytest.Config) -> None:
    """Let nbval start its kernels with our manager, in our environment."""
    nbval.kernel.KernelManager = BlockingPrivateKernelManager
    stack = ExitStack()
    stack.enter_context(kernel_environment({}))
    config.add_cleanup(stack.close)
