"""The benchmark of k-NN under an expensive scorer: recall of its exact best against the calls it took."""
