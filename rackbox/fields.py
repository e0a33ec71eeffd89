"""The types of a config's values: each knows how to read what was written, what to say when it cannot, and its JSON
schema.

A ``Rule`` goes into ``Annotated[type, RULE]``. Its ``parse`` gets whatever YAML gave and returns the typed value or
raises ``ValueError("must be …")``; the ``; got …`` is added where the error is shown (``config``). ``None`` (a key
written without a value) means "not given" and is let through where the rule is ``optional()``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_network
from pathlib import PurePosixPath
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from rackbox.durations import DURATION_PATTERN, SIZE_PATTERN, format_duration, format_size, parse_duration, parse_size

AddressRange = tuple[IPv4Address, IPv4Address]

# RFC 1123 section 2.1 with RFC 952: letters, digits, inner hyphens. Lower case only, since DNS folds case and file
# and interface names do not.
LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
LABEL_MAX = 63
DOMAIN_MAX = 189  # leaves room for a 63-letter machine name within the 253 of RFC 1035
RULE_ERROR = "rackbox"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind of value is read. ``schema`` is its JSON schema."""

    parse: Callable[[Any], Any]
    schema: dict[str, Any] = field(default_factory=dict)
    none: bool = False

    def optional(self) -> Rule:
        return replace(self, none=True)

    def __call__(self, value: Any) -> Any:
        if value is None and self.none:
            return None
        try:
            return self.parse(value)
        except ValueError as error:
            # The text travels in the context: a message template would read braces in it as fields.
            raise PydanticCustomError(RULE_ERROR, "{text}", {"text": str(error)}) from error

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return dict(self.schema)


def text_of(value: Any, wanted: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be {wanted}")
    return value


def label(maximum: int = LABEL_MAX, *, letter_first: bool = False, reserved: Sequence[str] = ()) -> Rule:
    """A name that can be a host name: one RFC 1123 label."""
    wanted = f"a name of a-z, 0-9 and inner hyphens, at most {maximum} long"
    if letter_first:
        wanted = f"a name of a-z, 0-9 and inner hyphens that begins with a letter, at most {maximum} long"
    first = "[a-z]([a-z0-9-]*[a-z0-9])?" if letter_first else LABEL

    def parse(value: Any) -> str:
        text = text_of(value, wanted)
        if len(text) > maximum or not re.fullmatch(first, text):
            raise ValueError(f"must be {wanted}")
        if text in reserved:
            raise ValueError(f"must be another name: {', '.join(reserved)} are taken")
        return text

    return Rule(parse, {"type": "string", "pattern": f"^{first}$", "maxLength": maximum})


def _parse_domain(value: Any) -> str:
    wanted = f"a DNS domain of a-z, 0-9, inner hyphens and dots, at most {DOMAIN_MAX} long, such as kube.demo"
    text = text_of(value, wanted)
    labels = text.split(".")
    good = all(re.fullmatch(LABEL, part) and len(part) <= LABEL_MAX for part in labels)
    # An all-digit last label would make every name look like an address to a resolver.
    if not good or len(text) > DOMAIN_MAX or labels[-1].isdigit():
        raise ValueError(f"must be {wanted}")
    if labels[-1] == "local" or text == "localhost":
        raise ValueError("must not be local or localhost: resolvers ask mDNS (RFC 6762) or themselves for those")
    return text


def whole(low: int, high: int) -> Rule:
    wanted = f"must be a whole number from {low} to {high}"

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(wanted)
        return value

    return Rule(parse, {"type": "integer", "minimum": low, "maximum": high})


def choice(*options: str) -> Rule:
    def parse(value: Any) -> str:
        if value not in options or not isinstance(value, str):
            raise ValueError(
                f"must be {' or '.join(options)}" if len(options) < 3 else f"must be one of {', '.join(options)}"
            )
        return value

    return Rule(parse, {"type": "string", "enum": list(options)})


def duration_between(low: str, high: str) -> Rule:
    """Milliseconds from ``500ms``, ``2s`` and the like; defaults in this project's own code may be written so too."""

    def parse(value: Any) -> int:
        ms = parse_duration(text_of(value, "a duration with its unit, such as 500ms, 2s, 5m or 24h"))
        if not parse_duration(low) <= ms <= parse_duration(high):
            raise ValueError(f"must be from {format_duration(parse_duration(low))} to {high}")
        return ms

    return Rule(parse, {"type": "string", "pattern": DURATION_PATTERN})


def size_between(low: str, high: str) -> Rule:
    """MiB from ``512M``, ``2G`` and the like."""

    def parse(value: Any) -> int:
        mib = parse_size(text_of(value, "a size with its unit, such as 512M, 2G or 1.5G"))
        if not parse_size(low) <= mib <= parse_size(high):
            raise ValueError(f"must be from {format_size(parse_size(low))} to {high}")
        return mib

    return Rule(parse, {"type": "string", "pattern": SIZE_PATTERN})


def whole_gib(low: str, high: str) -> Rule:
    """MiB, of a size that is whole GiB."""
    inner = size_between(low, high)

    def parse(value: Any) -> int:
        mib: int = inner.parse(value)
        if mib % 1024:
            raise ValueError("must be whole GiB, such as 48G")
        return mib

    return Rule(parse, inner.schema)


def _parse_address(value: Any) -> IPv4Address:
    wanted = "an IPv4 address, such as 192.168.4.20"
    try:
        address = ip_address(text_of(value, wanted))
    except ValueError as error:
        raise ValueError(f"must be {wanted}") from error
    if not isinstance(address, IPv4Address):
        raise ValueError(f"must be {wanted}; IPv6 is not supported")
    return address


def _parse_cidr(value: Any) -> IPv4Network:
    wanted = "an IPv4 network, such as 192.168.4.0/24"
    text = text_of(value, wanted)
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError(f"must be {wanted}") from error
    if not isinstance(network, IPv4Network):
        raise ValueError(f"must be {wanted}; IPv6 is not supported")
    if "/" not in text:
        raise ValueError(f"must be {wanted}: the /length is missing")
    if str(network.network_address) != text.split("/")[0]:
        raise ValueError(f"must be a network's own address: did you mean {network}?")
    if not 8 <= network.prefixlen <= 29:
        raise ValueError("must be from /8 to /29 (a gateway, a client and at least four machines)")
    for kind, bad in _UNUSABLE.items():
        if network.overlaps(bad):
            raise ValueError(f"must be a network that machines can use: {bad} is for {kind}")
    return network


# IANA special-purpose registry (RFC 6890) and RFC 5771: what Linux will not route as ordinary unicast.
_UNUSABLE = {
    "'this network'": IPv4Network("0.0.0.0/8"),
    "loopback": IPv4Network("127.0.0.0/8"),
    "link-local addresses": IPv4Network("169.254.0.0/16"),
    "multicast": IPv4Network("224.0.0.0/4"),
    "nothing (reserved)": IPv4Network("240.0.0.0/4"),
}


def _parse_ranges(value: Any) -> tuple[AddressRange, ...]:
    wanted = "must be a range a-b, an address, or a list of these"
    items = value if isinstance(value, list) else [value]
    ranges = []
    for item in items:
        if not isinstance(item, str):
            raise ValueError(wanted)
        first, _, last = (part.strip() for part in item.partition("-"))
        try:
            pair = (_parse_address(first), _parse_address(last or first))
        except ValueError as error:
            raise ValueError(f"{wanted}, such as 192.168.2.2-192.168.2.126") from error
        if pair[0] > pair[1]:
            raise ValueError("must be a range whose first address is not above its last")
        ranges.append(pair)
    return tuple(ranges)


def _parse_mount(value: Any) -> str:
    wanted = "an absolute path of plain letters, such as /srv/data"
    text = text_of(value, wanted)
    parts = PurePosixPath(text).parts
    if not re.fullmatch(r"/[A-Za-z0-9._/-]{1,200}", text) or ".." in parts or str(PurePosixPath(text)) != text:
        raise ValueError(f"must be {wanted}")
    if parts[1] in ("boot", "dev", "etc", "proc", "run", "sys", "bin", "sbin", "lib", "lib64", "usr"):
        raise ValueError(f"must not be inside /{parts[1]}: the system itself needs it")
    return text


def _parse_url_path(value: Any) -> str:
    wanted = "a URL path without spaces or quotes, such as /readyz"
    text = text_of(value, wanted)
    if not re.fullmatch(r"/[A-Za-z0-9._~/?&=:@!$*,;%+-]{0,200}", text):
        raise ValueError(f"must be {wanted}")
    return text


def _parse_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _parse_priorities(value: Any) -> tuple[int, int]:
    wanted = "must be two priorities from 1 to 254, such as [100, 99]"
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(wanted)
    if any(isinstance(item, bool) or not isinstance(item, int) or not 1 <= item <= 254 for item in value):
        raise ValueError(wanted)
    return value[0], value[1]


_STRING = {"type": "string"}
FLAG = Rule(_parse_flag, {"type": "boolean"})
PRIORITIES = Rule(
    _parse_priorities,
    {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 254}, "minItems": 2, "maxItems": 2},
)
DOMAIN = Rule(_parse_domain, {**_STRING, "format": "hostname", "maxLength": DOMAIN_MAX})
ADDRESS = Rule(_parse_address, {**_STRING, "format": "ipv4"})
CIDR = Rule(_parse_cidr, {**_STRING, "pattern": r"^[0-9]+(\.[0-9]+){3}/[0-9]+$"})
RANGES = Rule(_parse_ranges, {"anyOf": [_STRING, {"type": "array", "items": _STRING}]})
MOUNT = Rule(_parse_mount, {**_STRING, "pattern": "^/."})
URL_PATH = Rule(_parse_url_path, {**_STRING, "pattern": "^/"})
PORT = whole(1, 65535)
