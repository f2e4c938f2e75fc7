from lab.lock import pinned, resolved


def test_every_version_is_pinned() -> None:
    """uv.lock is not committed because it names hosts; `just lock` writes the pins instead."""
    assert pinned() == resolved()
