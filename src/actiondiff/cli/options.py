"""Command-line options made from option models, so that a field is described once."""

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actiondiff.errors import UsageError, explain_validation

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["parse_list", "parse_timesteps", "with_options"]


def with_options(
    model: "type[BaseModel]", *, skip: tuple[str, ...] = (), name: str = "options"
) -> Callable[[Callable[..., Any]], Any]:
    """Give a command one option for each field of a model, and pass it the model by a name.

    Only what the user gave is set, so that `options.model_dump(exclude_unset=True)` tells it from defaults.

    Args:
        model: The pydantic model; fields of simple types (numbers, text, choices, switches) become options.
        skip: Fields to leave out.
        name: Of the command's parameter. A command that takes several models is decorated once for each.
    """

    def decorate(command: Callable[..., Any]) -> Any:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for key, parameter in signature.parameters.items() if key != name]
        fields = {key: info for key, info in model.model_fields.items() if key not in skip}
        added = [
            inspect.Parameter(
                key,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    _option_type(info.annotation), _option(key, info.annotation, info.description)
                ],
            )
            for key, info in fields.items()
        ]

        @functools.wraps(command)
        def wrapper(**values: Any) -> Any:
            from pydantic import ValidationError

            given = {key: values.pop(key) for key in fields}
            try:
                options = model(**{key: value for key, value in given.items() if value is not None})
            except ValidationError as error:
                raise UsageError(f"{explain_validation(error, as_flag=True)}.") from None
            return command(**values, **{name: options})

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        wrapper.__signature__ = signature.replace(parameters=[*parameters, *added])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in [*parameters, *added]}
        del wrapper.__wrapped__
        return wrapper

    return decorate


def _plain(annotation: Any) -> Any:
    """The annotation without `| None`."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def _option_type(annotation: Any) -> Any:
    plain = _plain(annotation)
    return (str if typing.get_origin(plain) is typing.Literal else plain) | None


def _option(name: str, annotation: Any, description: str | None) -> Any:
    plain = _plain(annotation)
    flag = name.replace("_", "-")
    text = description or ""
    if typing.get_origin(plain) is typing.Literal:
        text = f"{text} [{'|'.join(map(str, typing.get_args(plain)))}]"
    declaration = f"--{flag}/--no-{flag}" if plain is bool else f"--{flag}"
    return typer.Option(declaration, help=text, show_default=False, rich_help_panel=None)


def parse_list(text: str | None) -> list[str] | None:
    """`"a, b"` -> `["a", "b"]`; None stays None.

    Raises:
        UsageError: If nothing is named.
    """
    if text is None:
        return None
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise UsageError(f"a list needs at least one item, separated by commas; got {text!r}.")
    return items


def parse_timesteps(text: str | None) -> list[int] | None:
    """`"0,20"` -> `[0, 20]`; None stays None.

    Raises:
        UsageError: If an item is no whole number.
    """
    items = parse_list(text)
    if items is None:
        return None
    for item in items:
        if not item.isdecimal():
            raise UsageError(f"timesteps are whole numbers separated by commas; got {item!r}.")
    return [int(item) for item in items]
