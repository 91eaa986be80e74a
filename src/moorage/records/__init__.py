"""What happened: who did what, kept for whoever has to know."""
