"""The published studies, one file each."""
