"""The function L(theta): network, loss and parameters, the data it is a mean over, and the checkpoints it is centred at."""
