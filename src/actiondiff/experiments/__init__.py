"""Studies (one training run and its evaluation) and sweeps of many studies, as recipes describe them."""
