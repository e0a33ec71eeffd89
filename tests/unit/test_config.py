"""Config: the shipped files are good, defaults are as promised, the schema is the code's."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from rackbox.budgets import BUDGETS_MS
from rackbox.config import Config, json_schema, load_config, parse_config
from rackbox.config_errors import explain, got
from rackbox.load import load_lab, load_topology
from rackbox.paths import PROJECT
from rackbox.planner import plan_topology
from rackbox.yamlfile import YamlFile

SHIPPED = sorted((PROJECT / "config").glob("*.yaml"))
MINIMAL = {"name": "x", "nodes": {"gateway": None, "lb": {}, "master": {}, "gluster": {}, "worker": {}}}


def config_of(**keys: Any) -> Config:
    return parse_config(YamlFile("lab.yaml", {**MINIMAL, **keys}, {}))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_config_is_good(path: Path) -> None:
    config, topology = load_lab(path)
    assert topology.lab == path.stem == config.name
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_default_lab_is_what_a_minimal_file_gives() -> None:
    """So every value in default.yaml is the default, as its head says; only the name differs, and with it the MACs."""
    written = load_topology(PROJECT / "config/default.yaml")
    assert written == plan_topology(config_of(name="default"))


def test_schema_file_is_current() -> None:
    kept = json.loads((PROJECT / "config/schema.json").read_text())
    assert kept == json_schema(), "run: python -m rackbox.config > config/schema.json"


def test_schema_describes_every_key() -> None:
    assert len(models(Config)) > 10
    for model in models(Config):
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


def test_schema_has_defaults_as_a_user_would_write_them() -> None:
    definitions = json_schema()["$defs"]
    assert definitions["Corosync"]["properties"]["token"]["default"] == "150ms"
    assert "null" not in json.dumps(
        [part.get("default") for part in definitions["RoleNodes"]["properties"].values() if "default" in part]
    )


def test_schema_patterns_agree_with_the_rules() -> None:
    """A pattern that is stricter than the code would underline good files in an editor."""
    definitions = json_schema()["$defs"]
    memory = next(part["pattern"] for part in [definitions["RoleNodes"]["properties"]["memory"]])
    for text in ("512M", "2G", "1.5G", "2GiB"):
        assert re.search(memory, text)
        assert config_of(nodes={"gateway": {"memory": text}}).nodes.of("gateway")


def test_frozen() -> None:
    config = config_of()
    with pytest.raises(ValidationError):
        config.name = "other"


def test_a_role_named_with_nothing_behind_it_is_wanted() -> None:
    assert config_of(nodes={"gateway": None, "worker": None}).nodes.of("worker") is not None
    assert config_of(nodes={"gateway": None}).nodes.of("worker") is None


def test_services_are_etcd_by_default_and_a_list_replaces_them() -> None:
    assert [service.name for service in config_of().services] == ["etcd"]
    assert config_of(load_balancer={"services": []}).services == ()
    api = {"name": "api", "port": 6443, "backend": "master"}
    assert [service.port for service in config_of(load_balancer={"services": [api]}).services] == [6443]
    assert config_of(nodes={"gateway": None, "lb": None}).services == ()
    assert config_of(nodes={"gateway": None, "master": None}).services == ()


def test_budgets_go_over_the_defaults() -> None:
    budgets = dict(plan_topology(config_of(failover={"budgets": {"haproxy-killed": "1s"}})).failover.budgets_ms)
    assert budgets == {**BUDGETS_MS, "haproxy-killed": 1000}


def test_consensus_stays_above_corosyncs_join_time() -> None:
    config = config_of()
    assert 50 < config.balancer.corosync.consensus < config.balancer.corosync.token


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "nothing"),
        ("", "nothing"),
        (True, "true"),
        ({}, "a mapping"),
        ([], "an empty list"),
        (["a"], "a list"),
        ("3", '"3"'),
        (3, "3"),
        ("a\nb", '"a b"'),
        ("true", '"true"'),
        ("x" * 100, '"' + "x" * 60 + '…"'),
        ("\x1b[31m", '"\\x1b[31m"'),
    ],
)
def test_got(value: object, words: str) -> None:
    assert got(value) == words


JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "x y",
    "\x00",
    [],
    [None],
    [[]],
    {},
    {"a": None},
    {"": 1},
    [{}],
    "{text}",
]


@pytest.mark.parametrize("junk", JUNK, ids=repr)
def test_no_foreign_words_whatever_stands_at_a_key(junk: Any) -> None:
    """Every key of every model gets nonsense; what comes out is ours, or it was good."""
    for data in with_junk_everywhere(junk):
        try:
            parse_config(YamlFile("lab.yaml", data, {}))
        except ValidationError as error:
            for path, text in explain(error, Config):
                assert text.startswith(("must", "unknown key")), (path, text, data)
                assert "another kind of value" not in text, (path, text, data)


FULL: dict[str, Any] = {
    "name": "x",
    "dns": {"upstream": ["192.0.2.1"]},
    "networks": {"dmz": {"cidr": "10.1.0.0/24", "reserved": [], "gateway": "10.1.0.9"}},
    "nodes": {
        "gateway": {"names": ["gw"], "volumes": {"x": {"size": "1G", "mount": "/srv/x"}}},
        "lb": {"count": 2, "network": "dmz", "cpus": 1, "memory": "1G", "first_address": "10.1.0.5", "addresses": []},
    },
    "load_balancer": {
        "corosync": {"token": "1s", "consensus": "1s"},
        "services": [
            {"name": "a", "port": 1, "backend": "master", "backend_port": 1, "check": {"path": "/"}, "host_port": 0}
        ],
    },
    "gluster": {"volume": "a", "mount": "/srv/a"},
    "failover": {"probe": {"interval": "1s"}, "budgets": {"haproxy-killed": "1s"}},
}


def with_junk_everywhere(junk: Any) -> Iterator[dict[str, Any]]:
    def walk(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            for name, child in node.items():
                yield {**node, name: junk}
                for changed in walk(child):
                    yield {**node, name: changed}
        elif isinstance(node, list):
            for index, child in enumerate(node):
                yield [*node[:index], junk, *node[index + 1 :]]
                for changed in walk(child):
                    yield [*node[:index], changed, *node[index + 1 :]]

    yield from walk(FULL)


def models(root: type[BaseModel]) -> list[type[BaseModel]]:
    """All sections of the file: the classes that share ``root``'s base."""
    section: type[BaseModel] = root.__bases__[0]
    return [model for model in section.__subclasses__() if model.__module__.startswith(root.__module__)]


def test_load_config_gives_the_provider() -> None:
    assert load_config(PROJECT / "config/default.yaml").provider == "auto"
