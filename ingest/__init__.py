"""Files and folders to documents."""
