"""Work of networks that can be ended at any layer, since one batch of a large one may take minutes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

__all__ = ["checked_at_layers"]


@contextmanager
def checked_at_layers(check: Callable[[], None]) -> Iterator[None]:
    """Call a function before each layer of every network that this thread runs.

    Args:
        check: Raises an exception to end the work.
    """
    thread = threading.get_ident()

    def hook(_: nn.Module, __: Any) -> None:
        if threading.get_ident() == thread:
            check()

    handle = register_module_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
