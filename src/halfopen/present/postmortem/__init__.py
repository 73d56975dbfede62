"""A post-mortem as a document of blocks, and that as Markdown or as one page of HTML."""
