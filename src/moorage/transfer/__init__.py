"""Images that come from elsewhere than a client, and leave otherwise: other registries' folders, archives."""
