"""The terminal face: each command parses, calls one use case and renders."""
