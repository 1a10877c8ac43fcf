"""Command-line options: those that several commands share, and those made from option models."""

import functools
import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from actiondiff.cli.groups import EXPERT
from actiondiff.errors import UsageError, explain_validation

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

__all__ = [
    "EVERYDAY",
    "EXPERT",
    "SEVERAL",
    "JsonOption",
    "MaxMegapixelsOption",
    "MaxPauseOption",
    "OverridesOption",
    "OverwriteOption",
    "RootOption",
    "StreamOption",
    "WithOption",
    "parse_list",
    "parse_timesteps",
    "with_options",
]

EVERYDAY = "Options"
"""Panel of the help that comes first."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change an option of the recipe, e.g. training.epochs=30; repeatable.",
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace files that this command did not write, or that were changed since."
    ),
]
RootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the paths in the table start at.  [default: the table's own folder]",
        rich_help_panel=EXPERT,
    ),
]


def _limit_pixels(value: float | None) -> float | None:
    from actiondiff.video.limits import set_limits

    set_limits(max_megapixels=value)
    return value


def _limit_pauses(value: float | None) -> float | None:
    from actiondiff.video.limits import set_limits

    set_limits(max_pause_seconds=value)
    return value


LIMITS = "Limits on videos"
SEVERAL = "Features of several layers or backbones"
MaxMegapixelsOption = Annotated[
    float | None,
    typer.Option(
        help="Largest picture of a video, in millions of pixels; larger ones fail.  [default: 64]",
        callback=_limit_pixels,
        rich_help_panel=LIMITS,
    ),
]
MaxPauseOption = Annotated[
    float | None,
    typer.Option(
        help="Longest time without a picture, in seconds; videos with a longer one fail.  [default: 3600]",
        callback=_limit_pauses,
        rich_help_panel=LIMITS,
    ),
]
StreamOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of the video stream in each file, as `videos check` shows it.  [default: the main one]",
    ),
]


WithOption = Annotated[
    list[str] | None,
    typer.Option(
        "--with",
        metavar="[NAME=]STORE",
        help="Further store of the same videos, for features of several backbones; may be repeated.",
        rich_help_panel=SEVERAL,
    ),
]


def with_options(
    model: "type[BaseModel]",
    *,
    skip: tuple[str, ...] = (),
    name: str = "options",
    panels: Mapping[str, Collection[str]] | None = None,
    panel: str = EXPERT,
) -> Callable[[Callable[..., Any]], Any]:
    """Give a command one option for each field of a model, and pass it the model by a name.

    Only what the user wrote is set, so that `options.model_dump(exclude_unset=True)` leaves out the defaults.

    Args:
        model: The pydantic model; fields of simple types (numbers, text, choices, switches) become options.
        skip: Fields to leave out.
        name: Name of the command's parameter. A command that takes several models is decorated once for each.
        panels: Title of a panel of the help -> names of the fields in it; the first panel is `EVERYDAY`.
        panel: Panel of the fields that `panels` does not name.
    """
    panel_of = {field: title for title, names in (panels or {}).items() for field in names}

    def decorate(command: Callable[..., Any]) -> Any:
        signature = inspect.signature(command, eval_str=True)
        own = [parameter for key, parameter in signature.parameters.items() if key != name]
        fields = {key: info for key, info in model.model_fields.items() if key not in skip}
        ordered = [key for key in panel_of if key in fields] + [key for key in fields if key not in panel_of]
        added = [_parameter(key, fields[key], panel_of.get(key, panel)) for key in ordered]

        @functools.wraps(command)
        def wrapper(**values: Any) -> Any:
            from pydantic import ValidationError

            chosen = {key: value for key in fields if (value := values.pop(key)) is not None}
            try:
                options = model(**chosen)
            except ValidationError as error:
                raise UsageError(f"{explain_validation(error, as_flag=True)}.") from None
            return command(**values, **{name: options})

        # Typer reads the signature, so the model's parameter is replaced by those of its fields.
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
        wrapper.__signature__ = signature.replace(parameters=[*parameters, *added])  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in [*parameters, *added]}
        del wrapper.__wrapped__
        return wrapper

    return decorate


def _parameter(name: str, field: "FieldInfo", panel: str) -> inspect.Parameter:
    """The keyword parameter of a field; its default is None, so that an unused option is not set."""
    plain: Any = _without_none(field.annotation)
    is_choice = typing.get_origin(plain) is typing.Literal
    text = field.description or ""
    if is_choice:
        text += f" [{'|'.join(map(str, typing.get_args(plain)))}]"
    states_own = "if not given" in text  # a default that depends on the model
    has_default = field.default is not None and field.default is not False and not field.is_required()
    if has_default and not states_own:
        text += f"  [default: {'on' if field.default is True else field.default}]"
    flag = name.replace("_", "-")
    option = typer.Option(
        f"--{flag}/--no-{flag}" if plain is bool else f"--{flag}",
        help=text.strip(),
        show_default=False,
        rich_help_panel=panel,
    )
    kind: Any = str if is_choice else plain
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _without_none(annotation: Any) -> Any:
    """The annotation without `| None`; of several types, the first."""
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return next(part for part in typing.get_args(annotation) if part is not type(None))
    return annotation


def parse_list(text: str | None) -> list[str] | None:
    """`"a, b"` -> `["a", "b"]`; None stays None.

    Raises:
        UsageError: If the list is empty.
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
        UsageError: If an item is not a whole number.
    """
    items = parse_list(text)
    if items is None:
        return None
    for item in items:
        if not item.isdecimal():
            raise UsageError(f"timesteps are whole numbers separated by commas; got {item!r}.")
    return [int(item) for item in items]
