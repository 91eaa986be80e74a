"""Backups of real servers, on folders of the test's own."""
