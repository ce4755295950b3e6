"""The parts of a translation: who trains a tensor, what it feels, and which lr it would need."""
