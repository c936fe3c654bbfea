"""The description of the REST API and the routes that there are: each operation has a route, each route an operation."""

import re

import pytest

from faasd_py.control.app import create_app
from faasd_py.control.openapi import OPERATIONS, PATH, document

NOT_DESCRIBED = {("GET", "/metrics")}
"""Prometheus' own format."""


def routes(daemon):
    rules = create_app(daemon).url_map.iter_rules()
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }


def test_every_route_is_described_and_nothing_else(daemon):
    """In both directions."""
    described = {(operation.method, operation.path) for operation in OPERATIONS}
    there = routes(daemon) - NOT_DESCRIBED
    assert there - described == set(), (
        "list it in the OPERATIONS of its module, and those in control/openapi.py"
    )
    assert described - there == set()


def test_names_are_unique():
    """They are what generated clients call their functions."""
    names = [operation.name for operation in OPERATIONS]
    assert sorted(set(names)) == sorted(names)


@pytest.fixture
async def page(ask):
    return (await ask("GET", PATH)).json


async def test_the_page(page):
    """Is OpenAPI 3.1, and every reference in it leads somewhere."""
    assert page["openapi"] == "3.1.0"
    text = str(page)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in page["components"]["schemas"]


async def test_a_path_says_its_parameters(page):
    """Each name in braces is a required parameter of the path."""
    for path, methods in page["paths"].items():
        for operation in methods.values():
            stated = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert stated == set(re.findall(r"\{(\w+)\}", path))


def test_who_must_log_in_is_said():
    """401 and 403 are answers of everything but what is open."""
    for methods in document(OPERATIONS, "1")["paths"].values():
        for operation in methods.values():
            assert ("401" in operation["responses"]) is (operation.get("security") != [])
