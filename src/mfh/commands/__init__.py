"""The commands, one module each: add the options, call the library, print.

Nothing slow is imported before a command runs, so that `--help` appears at once.
"""
