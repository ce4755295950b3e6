"""The files by which folders of Orbax are known."""

TREE, MANIFEST = "_METADATA", "manifest.ocdbt"
MARKS = (TREE, MANIFEST)
"""Those of a folder that holds arrays."""
STEP_MARK = "_CHECKPOINT_METADATA"
