"""Reports of a paper's table: Markdown, LaTeX, picture, terminal."""
