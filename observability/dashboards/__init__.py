"""Grafana's pages as code: `just dashboards` writes them as the JSON that Grafana reads."""
