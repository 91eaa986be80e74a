"""Going back in a tag's history, to an image that is still there or in the trash."""
