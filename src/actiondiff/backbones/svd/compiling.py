"""Checks that `torch.compile` works on this machine, before an extraction begins."""

import functools

import torch

from actiondiff.errors import UsageError

__all__ = ["check_compiler"]


@functools.cache
def check_compiler(device: str) -> None:
    """Compile and run a trivial function on a device, as a check.

    Raises:
        UsageError: If that fails, for example because there is no C++ compiler.
    """
    try:
        torch.compile(_probe)(torch.zeros(8, device=device))
    except Exception as error:  # from PyTorch, its code generator, or the compiler that they call
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"compile does not work here ({first.strip()}). It needs a C++ compiler (g++ or clang), and on "
            "CUDA triton; leave it out (--no-compile)."
        ) from None
    finally:
        torch.compiler.reset()


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.sin() + 1
