"""Search from token vectors to ranked documents: token codes, MaxSim kernels, and whole engines against each other."""
