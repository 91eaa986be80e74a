"""The HTTP face. Each module parses a request, calls one use case and renders what it returns."""
