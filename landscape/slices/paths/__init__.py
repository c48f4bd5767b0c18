"""Paths between solutions and through training runs."""
