"""Recipes that train reference networks, and what runs many of them."""
