"""What the registry does with what it holds, by itself and over time."""
