"""The few pages for people. They work without scripts; styles come from this registry alone."""
