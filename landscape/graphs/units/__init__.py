"""Follow hidden units through an exported network: which parameters set, read, scale and reorder them."""
