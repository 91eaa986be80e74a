"""Other registries at the edge: asked over HTTP, with what each of them wants to know of who asks."""
