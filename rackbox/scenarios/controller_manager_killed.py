"""The controller manager that leads is killed. The API answers on, but nobody acts until the lease has run out (15 s by
kubeadm's settings) and another one has it."""

from __future__ import annotations

from rackbox.scenarios.base import Scenario

SCENARIO = Scenario(
    name="controller-manager-killed",
    summary="the leading controller manager killed",
    fault="controller-manager-killed",
    target="controller-manager-leader",
    probes=("api-control", "api-write"),
    judged="api-control",
    needs={"lb": 1, "master": 3},
    recover=60.0,
    settle=3.0,
    heal=120.0,
)
