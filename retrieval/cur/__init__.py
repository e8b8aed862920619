"""The best documents by an expensive scorer, found with a counted number of its calls: ANNCUR, ADACUR and AXN."""
