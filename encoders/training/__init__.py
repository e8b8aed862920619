"""Training of late-interaction encoders: data, objectives and the loop."""
