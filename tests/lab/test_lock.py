from lab.lock import pinned, resolved


def test_every_version_is_pinned() -> None:
    """`just lock` writes the pins; uv.lock itself is not committed, as it names hosts."""
    assert pinned() == resolved()
