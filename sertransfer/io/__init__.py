"""Files and folders: written whole or not at all, checked by content, read as plain values."""
