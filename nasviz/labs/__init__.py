"""Figures of the lessons, one module each; a module loads when its notebook asks for it."""
