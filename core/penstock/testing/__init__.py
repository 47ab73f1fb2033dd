"""Fixtures for authors of plugins and protocols: a gateway on a real socket and a scripted upstream."""
