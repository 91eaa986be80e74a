"""The few pages for a person's browser. No script, no inline style, nothing from another site."""
