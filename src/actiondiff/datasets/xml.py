"""Reading XML that others wrote, within bounds.

Definitions of entities are refused: they can grow without bound, or name other files.
"""

from collections.abc import Callable
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

__all__ = ["parse_xml"]

_DEEPEST = 50


def parse_xml(data: bytes, refuse: Callable[[str], Exception], *, namespaces: bool = False) -> Element:
    """Parse a document.

    Args:
        data: The document.
        refuse: Makes the error to raise, from a reason.
        namespaces: Whether names are to be written with their namespace, as in `{urn:x}table`.

    Raises:
        Exception: That of `refuse`, if the document is not valid, has a document type definition, or its
            elements are nested too deeply.
    """
    builder, parser = TreeBuilder(), expat.ParserCreate(namespace_separator="}" if namespaces else None)
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise refuse("its elements are nested too deeply")
        builder.start(_name(tag), {_name(name): value for name, value in attributes.items()})

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_name(tag))

    def refuse_definition(*_: object) -> None:
        raise refuse("it has a document type definition")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse_definition
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise refuse(str(error)) from None
    return builder.close()


def _name(text: str) -> str:
    return "{" + text if "}" in text else text
