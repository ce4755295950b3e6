"""The parts of a diff: what stands side by side, and the rows that it makes."""
