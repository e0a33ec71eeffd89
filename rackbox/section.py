"""What every mapping of a config file is made of: ``Section``, ``key``, and the types that several sections share."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rackbox.fields import ADDRESS, label

DnsLabel = Annotated[str, label()]
OptionalAddress = Annotated[IPv4Address | None, ADDRESS.optional()]


def key(default: Any, description: str) -> Any:
    """A key that may be left out. ``default`` is written as a user would write it and read by the same rule."""
    return Field(default=default, description=description)


class Section(BaseModel):
    """A mapping of the file: unknown keys are errors, and nothing can change it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_all_defaults(cls, value: Any) -> Any:
        return {} if value is None else value
