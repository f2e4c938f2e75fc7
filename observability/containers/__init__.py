"""The bundle in containers, by compose.yaml."""
