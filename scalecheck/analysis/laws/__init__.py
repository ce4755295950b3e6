"""One law of optimizers a file: an experiment to claims, each measured beside what is expected."""
