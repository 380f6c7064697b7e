"""Layer-wise relevance propagation: a rule for each operation, and the pass that applies them."""
