"""Turns pydantic's errors into what a person needs: where, what it must be, what it is.

``explain`` is the entry point. No text of pydantic's own reaches the user: each type of error that the models of
``config`` can raise has its words here, and a test goes through all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rackbox.fields import RULE_ERROR
from rackbox.yamlfile import KeyPath

_MUST = {
    "missing": "must be given",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "dict_type": "must be a mapping (name: …)",
    "mapping_type": "must be a mapping (name: …)",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
}
_SHOWN = 60


def explain(error: ValidationError, model: type[BaseModel]) -> Iterator[tuple[KeyPath, str]]:
    """Each problem's key path and its text, "must be …; got …"."""
    for detail in error.errors(include_url=False):
        path = _path(detail)
        if detail["type"] == "extra_forbidden":
            yield path, _unknown(path, model)
        elif detail["type"] == "missing":
            yield path, "must be given; got nothing"
        elif detail["type"] == RULE_ERROR:
            yield path, f"{detail['ctx']['text']}; got {got(detail['input'])}"
        else:
            yield path, f"{_MUST.get(detail['type'], 'must be another kind of value')}; got {got(detail['input'])}"


def got(value: Any) -> str:
    """``value`` as a user would recognise it, in one short piece."""
    match value:
        case None | "":
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list" if value else "an empty list"
    text = " ".join(str(value).split())
    text = text if text.isprintable() else ascii(text)[1:-1]
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    # Quotes where the value is text that looks like something else, or has odd ends.
    plain = isinstance(value, str) and (text != value or text.lower() in ("true", "false") or text.isdigit())
    return f'"{text}"' if plain else text


def without_bad_keys(
    data: dict[str, Any], error: ValidationError, model: type[BaseModel]
) -> tuple[dict[str, Any], list[KeyPath]]:
    """``data`` (changed in place) without the keys that ``error`` is about, and the paths that this puts in doubt:
    those keys, and for a misspelt one the key that was meant."""
    tainted: list[KeyPath] = []
    bad: set[KeyPath] = set()
    for detail in error.errors(include_url=False):
        path = _path(detail)
        # A list without one of its items would be another list.
        index = next((place for place, part in enumerate(path) if isinstance(part, int)), len(path))
        bad.add(path[:index])
        meant = _nearest(path, model) if detail["type"] == "extra_forbidden" else None
        tainted.append((*path[:-1], meant) if meant else path[:index])
    for path in bad:
        _delete(data, path)
    return data, tainted


def _delete(data: Any, path: KeyPath) -> None:
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, dict) else None
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)


def _path(detail: ErrorDetails) -> KeyPath:
    return tuple(part for part in detail["loc"] if part != "[key]")


def _unknown(path: KeyPath, model: type[BaseModel]) -> str:
    meant = _nearest(path, model)
    if meant:
        return f"unknown key; did you mean {meant}?"
    known = _known_keys(path[:-1], model)
    return f"unknown key; must be one of {', '.join(known)}" if known else "unknown key"


def _nearest(path: KeyPath, model: type[BaseModel]) -> str | None:
    known = _known_keys(path[:-1], model)
    word = str(path[-1]).lower().replace("-", "_")
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return close[0] if close else None


def _known_keys(path: KeyPath, model: type[BaseModel]) -> list[str]:
    """The keys that the mapping at ``path`` may have."""
    annotation: Any = model
    for part in path:
        here = _find_model(annotation)
        if here is not None and part in here.model_fields:
            annotation = here.model_fields[str(part)].annotation
    found = _find_model(annotation)
    return list(found.model_fields) if found else []


def _find_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside of ``X``, ``X | None``, ``tuple[X, ...]`` or ``Mapping[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _find_model(part))), None)
