"""What a node is: a plain typed function, and what its signature says."""
