"""segcourse: image segmentation networks, built from scratch, measured, and taught."""

__version__ = "0.1.0"
