"""The commands, a module for each idea: what they take on the command line, and what they do with it.

Nothing heavier than argparse is imported at the top of these modules; a command imports what it calls.
"""
