"""What comes in and goes out by whole stores: backups, other registries' folders, archives."""
