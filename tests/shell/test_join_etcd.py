"""The hook that makes a master a member of the etcd that the others have, against a pretended etcd of theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.shell.guest import FakeGuest

pytestmark = pytest.mark.shell

OWN = "https://192.168.1.12:2380"
# Another master's etcd: it keeps its list in $STATE/members, and refuses as often as $STATE/refusals has lines.
ETCD = r"""
words="$*"
[[ -e $STATE/members ]] || { echo 'connection refused' >&2; exit 7; }
data=$(sed 's/.*--data \(.*\) https:.*/\1/' <<<"$words")
case $words in
  */member/list) cat "$STATE/members" ;;
  */member/add)
    if [[ -s $STATE/refusals ]]; then
      sed -i 1d "$STATE/refusals"
      echo 'too many learner members in cluster'
      exit 22
    fi
    jq --argjson asked "$data" '.members += [{ID: "99", peerURLs: $asked.peerURLs, isLearner: true}]' \
      "$STATE/members" >"$STATE/new" && mv "$STATE/new" "$STATE/members" && cat "$STATE/members" ;;
  */member/remove)
    jq --argjson asked "$data" '.members |= map(select(.ID != $asked.ID))' "$STATE/members" >"$STATE/new"
    mv "$STATE/new" "$STATE/members"
    echo '{}' ;;
esac
"""


def member(number: int, name: str | None = None, **more: object) -> dict[str, object]:
    named = {"name": f"master{number}" if name is None else name} if name != "" else {}
    return {"ID": str(number), "peerURLs": [f"https://192.168.1.1{number}:2380"], **named, **more}


class Joining:
    """master2, whose etcd does not run, and what the others say."""

    def __init__(self, directory: Path, *members: dict[str, object]) -> None:
        self.guest = FakeGuest(directory, "master2")
        self.guest.fake("curl", ETCD)
        self.guest.fake("systemctl", "exit 3")
        self.listing = self.guest.state / "members"
        if members:
            self.listing.write_text(json.dumps({"members": members}))
        self.data = self.guest.root / "var/lib/etcd/data"
        self.joining = self.guest.root / "var/lib/etcd/joining"

    def has_data(self) -> None:
        (self.data / "member").mkdir(parents=True)

    def run(self, founds: str = "yes", wait: str = "2") -> None:
        done = self.guest.hook("master/05-join-etcd.sh", RACKBOX_WAIT_SECONDS=wait, RACKBOX_ETCD_FOUNDS=founds)
        assert done.returncode == 0, done.stderr

    @property
    def members(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.listing.read_text())["members"]
        return found


@pytest.fixture(params=["", "data"])
def alone(request: pytest.FixtureRequest, tmp_path: Path) -> Joining:
    joining = Joining(tmp_path)
    if request.param:
        joining.has_data()
    return joining


def test_where_nobody_answers_a_founder_starts(alone: Joining) -> None:
    alone.run()
    assert not alone.joining.exists()


def test_where_nobody_answers_others_wait_unless_they_have_data(tmp_path: Path) -> None:
    joining = Joining(tmp_path)
    done = joining.guest.hook("master/05-join-etcd.sh", RACKBOX_WAIT_SECONDS="1", RACKBOX_ETCD_FOUNDS="")
    assert done.returncode == 1
    assert "not within 1 s: an etcd to join" in done.stderr
    joining.has_data()
    joining.run(founds="")


@pytest.mark.parametrize("again", [False, True], ids=["once", "broken off before"])
def test_a_later_master_comes_as_a_learner(tmp_path: Path, again: bool) -> None:
    joining = Joining(tmp_path, member(1), member(3))
    (joining.guest.state / "refusals").write_text("1\n")
    joining.run(founds="")
    if again:
        joining.joining.unlink()
        joining.run(founds="")
    assert [item["ID"] for item in joining.members] == ["1", "3", "99"]
    assert joining.members[2] == {"ID": "99", "peerURLs": [OWN], "isLearner": True}
    assert joining.joining.read_text().splitlines() == [
        "ETCD_INITIAL_CLUSTER_STATE=existing",
        f"ETCD_INITIAL_CLUSTER=master1=https://192.168.1.11:2380,master3=https://192.168.1.13:2380,master2={OWN}",
    ]


def test_a_founder_that_is_the_last_to_start_founds(tmp_path: Path) -> None:
    joining = Joining(tmp_path, member(1), member(2, ""), member(3))
    joining.run()
    assert not joining.joining.exists()


def test_a_member_with_its_data_is_left_alone(tmp_path: Path) -> None:
    joining = Joining(tmp_path, member(1), member(2), member(3))
    joining.has_data()
    joining.run()
    assert not joining.joining.exists()
    assert len(joining.members) == 3


def test_a_member_that_lost_its_data_joins_again(tmp_path: Path) -> None:
    joining = Joining(tmp_path, member(1), member(2), member(3))
    joining.run()
    assert [item["ID"] for item in joining.members] == ["1", "3", "99"]
    assert joining.joining.exists()


def test_one_that_was_taken_out_puts_its_data_aside(tmp_path: Path) -> None:
    joining = Joining(tmp_path, member(1), member(3))
    joining.has_data()
    joining.run(founds="")
    assert not joining.data.exists()
    assert (joining.data.with_name("data.old") / "member").is_dir()
    assert joining.joining.exists()


def test_one_that_has_another_address_now_leaves_no_old_self_behind(tmp_path: Path) -> None:
    old: dict[str, object] = {"ID": "2", "name": "master2", "peerURLs": ["https://192.168.1.22:2380"]}
    joining = Joining(tmp_path, member(1), old, member(3))
    joining.has_data()
    joining.run()
    assert [item["ID"] for item in joining.members] == ["1", "3", "99"]
