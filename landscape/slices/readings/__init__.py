"""What can be read off a slice, or measured along it."""
