"""Parts of the documentation site beyond the files in docs/: generated reference pages, and rewritten links."""
