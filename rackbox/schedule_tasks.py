"""The tasks ``schedule.*``: a part of the switchboard, and as thin."""

from __future__ import annotations

from rackbox.task import Context, command, group


@command(
    provider="what runs the machines",
    when="hourly, daily, weekly, monthly, or an expression of systemd.time(7) (without systemd: of crontab(5))",
    os="which release",
    keep="how many good versions stay",
    jitter="how much later a run may start at most",
    notify_on="after which runs somebody is told: always, change or failure",
    webhook="an address to POST the report to (better in the file: it may be a secret)",
)
def install(
    _: Context,
    when: str = "",
    os: str = "",
    provider: str = "",
    keep: int = 0,
    jitter: str = "",
    notify_on: str = "",
    webhook: str = "",
) -> int:
    """Rebuild the base box by itself from now on, only when something has changed; run again, it changes that."""
    from rackbox import schedule

    options = {"when": when, "os": os, "provider": provider, "keep": keep, "jitter": jitter}
    return schedule.install({**options, "notify.on": notify_on, "notify.webhook": webhook})


@command()
def status(_: Context, json: bool = False) -> int:
    """Show when boxes are rebuilt next, and what came of the last times."""
    from rackbox import schedule

    return schedule.show_status(json)


@command()
def remove(_: Context) -> int:
    """Take the schedule away; boxes and their figures stay."""
    from rackbox import schedule

    return schedule.remove()


@command(due="only if a run was missed", jitter="wait a random part of the jitter first")
def run(_: Context, due: bool = False, jitter: bool = False) -> int:
    """Do now what the schedule does: prune, rebuild if something has changed, prove, tell."""
    from rackbox import schedule

    return schedule.run_now(due, jitter)


COLLECTION = group("schedule", install, status, remove, run)
