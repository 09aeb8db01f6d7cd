"""AST-MFR: an asymmetric student and teacher with masked feature regeneration."""
