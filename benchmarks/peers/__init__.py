"""Peers that live in an environment of their own, and are told over pipes what to do."""
