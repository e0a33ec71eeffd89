"""Every bad file of the table is refused with the right line, path and words, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from rackbox.errors import EXIT_COULD_NOT_RUN, ConfigError
from rackbox.load import load_topology
from tests.unit.bad_configs import KEYS, NETWORKS, START, SYNTAX, Bad
from tests.unit.bad_kubernetes import KUBERNETES
from tests.unit.bad_machines import BALANCER, NODES

BAD_CONFIGS = [*SYNTAX, *KEYS, *NETWORKS, *NODES, *BALANCER, *KUBERNETES]

# What pydantic, PyYAML or Python would say; none of it may reach a user.
FOREIGN_WORDS = ("pydantic", "Input should be", "validation error", "ctx", "<class", "Traceback", "NoneType")


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_topology(path)
    return caught.value


@pytest.mark.parametrize("bad", BAD_CONFIGS, ids=lambda bad: bad.name)
def test_bad_config(bad: Bad, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_bytes(bad.text.encode() if isinstance(bad.text, str) else bad.text)
    error = refused(file)
    told = [(problem.line, problem.path) for problem in error.problems]
    assert (bad.line, bad.path) in told, str(error)
    problem = next(problem for problem in error.problems if problem.path == bad.path)
    assert bad.words in problem.text
    assert problem.file == str(file)
    assert error.exit_code == EXIT_COULD_NOT_RUN
    assert not [word for word in FOREIGN_WORDS if word in str(error)]
    assert list(tmp_path.iterdir()) == [file]


def test_the_table_is_big_and_has_no_name_twice() -> None:
    names = [bad.name for bad in BAD_CONFIGS]
    assert len(names) >= 40
    assert len(set(names)) == len(names)


# Each line of the bomb is refused, the others make one mistake.
@pytest.mark.parametrize("bad", [bad for bad in BAD_CONFIGS if bad.name != "alias bomb"], ids=lambda bad: bad.name)
def test_one_mistake_gives_one_problem(bad: Bad, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_bytes(bad.text.encode() if isinstance(bad.text, str) else bad.text)
    assert len(refused(file).problems) == 1, str(refused(file))


def test_all_problems_are_told_at_once_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(START + "  master: {count: 2}\n  worker: {first_address: 10.1.1.1}\nuplnk: nat\nos: dos\n")
    error = refused(file)
    assert [(problem.line, problem.path) for problem in error.problems] == [
        (4, "nodes.master.count"),
        (5, "nodes.worker.first_address"),
        (6, "uplnk"),
        (7, "os"),
    ]
    assert str(error).splitlines()[0].startswith(f"{file}:4: nodes.master.count: must be odd for etcd")


def test_a_misread_key_casts_no_shadow(tmp_path: Path) -> None:
    """The gateway's typo must not be answered with complaints that follow from it."""
    file = tmp_path / "lab.yaml"
    file.write_text("name: lab\nnodes:\n  gatway:\n  master:\n    first_adress: 192.168.1.254\n")
    assert [problem.path for problem in refused(file).problems] == ["nodes.gatway", "nodes.master.first_adress"]


def test_unreadable_networks_leave_the_rest_to_be_checked(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text(START + "  master: {count: 4, network: a}\nnetworks:\n  a: {cidr: 10.1.0.1/24}\n")
    assert [problem.path for problem in refused(file).problems] == ["nodes.master.count", "networks.a.cidr"]


@pytest.mark.parametrize("make", ["missing", "directory", "huge"])
def test_no_file(make: str, tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    if make == "directory":
        path.mkdir()
    elif make == "huge":
        path.write_bytes(b"# a comment\n" * 400_000)
    words = {"missing": "no such file", "directory": "got a directory", "huge": "must be at most 4 MiB"}
    assert str(refused(path)) == f"{path}: {words[make] if make != 'directory' else 'must be a file; got a directory'}"
