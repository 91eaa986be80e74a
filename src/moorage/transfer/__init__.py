"""What comes in and goes out by whole stores: backups and what is made of them again."""
