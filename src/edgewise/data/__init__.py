"""Arrays: labelled images, the groups made from it, displacement, pixels, and how arrays are kept in files."""
