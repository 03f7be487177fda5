"""What the first objective is: the loss of sampled architectures, from a supernet or from a surrogate."""
