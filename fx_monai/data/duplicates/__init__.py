"""Finding the same image behind other files: exact by pixels, or changed by copying."""
