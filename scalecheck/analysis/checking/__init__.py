"""The parts of a check: its settings, its evidence, its pages."""
