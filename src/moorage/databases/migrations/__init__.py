"""Numbered SQL files, applied once each, in order, never edited after a release."""
