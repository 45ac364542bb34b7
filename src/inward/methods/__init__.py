"""One file per paper: its settings and its order of stages. Only these know an order."""
