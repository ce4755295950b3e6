"""One verb a file: (checkpoint, settings) to a Report."""
