"""The compiler. `compiler` is the door; what lies behind it is read from the outside to the inside.

Nothing is imported here: `server` and what it needs run beside any Hera, without the rest.
"""
