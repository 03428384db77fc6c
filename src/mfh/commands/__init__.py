"""The subcommands of the command line, one module each: they add their options, call the library, print.

Nothing slow is imported before a command runs, so that `--help` answers at once.
"""
