"""Attributes of `OTEL_RESOURCE_ATTRIBUTES` whose names no header could list: tags all the same."""

from __future__ import annotations

import pytest

from tests.integration.conftest import System


@pytest.mark.parametrize(
    ("attributes", "tag"),
    [
        ("k8s.node.name=alpha", "k8s_node_name"),
        ("a;b=alpha", "a_b"),
        ("équipe=alpha", "key_quipe"),
    ],
)
def test_an_attribute_is_a_tag_of_every_series(system: System, attributes: str, tag: str) -> None:
    system.claude()
    db = system.database()
    system.environment["OTEL_RESOURCE_ATTRIBUTES"] = attributes
    assert system.collect().destination("default")["error"] is None
    assert len(db.tables()) > 10
    for table in db.tables():
        assert {row[tag] for row in db.sql(f'SELECT * FROM "{table}"')} == {"alpha"}
