"""What comes in and goes out otherwise than by a client: backups, other registries' folders, archives."""
