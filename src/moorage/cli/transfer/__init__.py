"""Commands that bring images from elsewhere than a client, and take them away: they work on the folder."""
