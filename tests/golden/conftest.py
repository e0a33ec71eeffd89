"""The golden tier's option: ``pytest tests/golden --update-golden`` rewrites, and fails so that somebody looks."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the golden files; the tests fail if any changed"
    )
