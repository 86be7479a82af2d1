"""Which parser of shell text to judge by: tree-sitter-bash against bashlex, on the corpus."""
