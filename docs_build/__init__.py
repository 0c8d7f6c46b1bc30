"""What the documentation site has beyond the files in docs/: generated reference pages, and links of its own."""
