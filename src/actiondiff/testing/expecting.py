"""What a check that fails raises."""

__all__ = ["expect"]


def expect(condition: bool, message: str) -> None:
    """Raise an AssertionError with the message unless the condition holds."""
    if not condition:
        raise AssertionError(message)
