"""How a product is computed: a kept graph, a traced and split program, or from scratch, one batch at a time."""
